package verdict

// State of a copy.
type State uint8

// The states, one per copy. Compared copies are Fresh, Stale and Undecided.
const (
	Fresh State = iota
	Stale
	Missing
	Error
	Undecided
	Unverified
	NumStates
)

// String is the state's label value.
func (s State) String() string {
	return [...]string{"fresh", "stale", "missing", "error", "undecided", "unverified"}[s]
}

// Reference is what decided a key, or convicted a copy.
type Reference uint8

// The references, strongest first; ByAge convicts only.
const (
	ByOrigin Reference = iota
	ByVersion
	ByPrimary
	ByMajority
	ByNone
	ByAge
	NumReferences
)

// String is the reference's label value.
func (r Reference) String() string {
	return [...]string{"origin", "version", "primary", "majority", "none", "age"}[r]
}
