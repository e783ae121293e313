package verdict

// Rule is a set of rules of docs/verdict.md that a Judge can do without, so that tests show what each of them is worth.
type Rule uint32

// The rules.
const (
	// Spread: a copy whose version fell to what another copy held already is judged by versions all the same.
	Spread Rule = 1 << iota
	// LateWrites: falls that are fewer than the copies at the highest version, or as many and to known content, are
	// judged by versions all the same. Without it they are a regression.
	LateWrites
	// Regression: other falls keep versions from deciding.
	Regression
	// OriginBehindEnds: content that a copy has held for long is wrong though its version is above the origin's.
	OriginBehindEnds
	// RecentlyDeleted: within max_lag a 404 leaves a copy alone undecided.
	RecentlyDeleted
	// Still: what convicts by primary or majority stood still, or the copy did since an earlier sampling.
	Still
	// Newcomer: no majority convicts content that is newer than its own.
	Newcomer
	// UnreadVotes: votes that could not be read count against a majority.
	UnreadVotes
	// LaxMajority: a majority that may not convict a stricter layer does not confirm itself against it.
	LaxMajority
	// Remembered: a version below one confirmed earlier is wrong.
	Remembered
	// NewNodes that agree end what is remembered.
	NewNodes
	// FutureVersion: beside a version that lies in the future versions confirm nothing.
	FutureVersion
)
