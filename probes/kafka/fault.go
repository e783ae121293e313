package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// namedAtMost names are told of one fault; the rest are counted.
const namedAtMost = 20

var (
	errHung     = errors.New("no answer in time")
	errNoLeader = errors.New("has no leader; start the brokers that hold its replicas")
	errGone     = errors.New("does not exist, or may not be described; check the name, and grant the exporter's user DESCRIBE on it")
)

// connectionFault says what to do where a broker could not be asked. No text of a broker's is repeated where it may hold
// what it was sent.
func connectionFault(err error) error {
	var early *kgo.ErrFirstReadEOF
	var code *kerr.Error
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return errors.New("the broker refused to authenticate (SASL_AUTHENTICATION_FAILED); check sasl's mechanism and credentials")
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return errors.New("the broker does not offer the SASL mechanism (UNSUPPORTED_SASL_MECHANISM); write one that it does in sasl.mechanism")
	case errors.As(err, &early):
		return errors.New("the broker closed the connection at once; check whether its port needs tls or sasl")
	case errors.As(err, &code):
		return codeFault(code.Code)
	}
	return err
}

// codeFault says what to do about an error code; nil for none.
func codeFault(code int16) error {
	err := kerr.ErrorForCode(code)
	var k *kerr.Error
	if !errors.As(err, &k) {
		return err
	}
	switch k {
	case kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed:
		return fmt.Errorf("may not be described (%s); grant the exporter's user DESCRIBE on it", k.Message)
	case kerr.ClusterAuthorizationFailed:
		return fmt.Errorf("the cluster may not be described (%s); grant the exporter's user DESCRIBE on the cluster", k.Message)
	case kerr.UnknownTopicOrPartition:
		return errGone
	case kerr.LeaderNotAvailable:
		return errNoLeader
	}
	return fmt.Errorf("the broker answered %s", k.Message)
}

// faults collects what could not be learned, from several goroutines. Faults of one kind are told together.
type faults struct {
	mu sync.Mutex
	// by is names by what they are of and what is wrong with them.
	by map[faultKind][]string
	// partitions by their topic and what is wrong with them.
	partitions map[faultKind][]int32
}

type faultKind struct{ of, wrong string }

func newFaults() *faults {
	return &faults{by: map[faultKind][]string{}, partitions: map[faultKind][]int32{}}
}

func (f *faults) add(of, name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := faultKind{of, err.Error()}
	if !slices.Contains(f.by[k], name) {
		f.by[k] = append(f.by[k], name)
	}
}

func (f *faults) topic(name string, err error) { f.add("topic", name, err) }

func (f *faults) group(name string, err error) { f.add("group", name, err) }

func (f *faults) broker(b broker, err error) {
	f.add("broker", fmt.Sprintf("%d (%s)", b.id, b.address), err)
}

func (f *faults) other(err error) { f.add("", "", err) }

func (f *faults) partition(p probes.Partition, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := faultKind{p.Topic, err.Error()}
	f.partitions[k] = append(f.partitions[k], p.ID)
}

// err joins all faults, in an order of their own; nil without any.
func (f *faults) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, k := range sortedKinds(f.by) {
		names := f.by[k]
		slices.Sort(names)
		if k.of == "" {
			errs = append(errs, errors.New(k.wrong))
			continue
		}
		errs = append(errs, fmt.Errorf("%s %s: %s", plural(k.of, len(names)), nameList(names), k.wrong))
	}
	for _, k := range sortedKinds(f.partitions) {
		ids := f.partitions[k]
		slices.Sort(ids)
		ids = slices.Compact(ids)
		errs = append(errs, fmt.Errorf("topic %s, %s %s: %s", k.of, plural("partition", len(ids)), nameList(ranges(ids)), k.wrong))
	}
	return errors.Join(errs...)
}

func sortedKinds[V any](m map[faultKind]V) []faultKind {
	return slices.SortedFunc(maps.Keys(m), func(a, b faultKind) int {
		return cmp.Or(strings.Compare(a.of, b.of), strings.Compare(a.wrong, b.wrong))
	})
}

func plural(noun string, n int) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func nameList(names []string) string {
	if len(names) > namedAtMost {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namedAtMost], ", "), len(names)-namedAtMost)
	}
	return strings.Join(names, ", ")
}

// ranges writes sorted numbers as 0-2, 5.
func ranges(ids []int32) []string {
	var out []string
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && ids[j+1] == ids[j]+1 {
			j++
		}
		one := strconv.Itoa(int(ids[i]))
		if j > i {
			one += "-" + strconv.Itoa(int(ids[j]))
		}
		out = append(out, one)
		i = j + 1
	}
	return out
}
