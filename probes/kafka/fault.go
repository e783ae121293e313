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

// maxNamed is how many names a fault lists; the rest are counted.
const maxNamed = 20

var (
	errHung     = errors.New("no answer in time")
	errNoLeader = errors.New("has no leader; start the brokers that hold its replicas")
	// errShareGroup says why nothing can be learned of a share group (KIP-932).
	errShareGroup = errors.New("is a share group, which commits no offsets, so that no lag of it is known; leave it out of groups")
	errNoSuch     = errors.New("does not exist, or may not be described; check the name, and grant the exporter's user DESCRIBE on it")
)

// connectionFault says what to do where a request failed on its connection; a login that the broker does not take is a refusal.
// No text of a broker's is repeated where it may hold what was sent to it, such as a password.
func connectionFault(err error) error {
	var early *kgo.ErrFirstReadEOF
	var code *kerr.Error
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return probes.Refusal(errors.New("the broker refused to authenticate (SASL_AUTHENTICATION_FAILED); check sasl's mechanism and credentials"))
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return probes.Refusal(errors.New("the broker does not offer the SASL mechanism (UNSUPPORTED_SASL_MECHANISM); write one that it does in sasl.mechanism"))
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
		return probes.Refusal(fmt.Errorf("may not be described (%s); grant the exporter's user DESCRIBE on it", k.Message))
	case kerr.ClusterAuthorizationFailed:
		return probes.Refusal(fmt.Errorf("the cluster may not be described (%s); grant the exporter's user DESCRIBE on the cluster", k.Message))
	case kerr.IllegalSaslState, kerr.ThrottlingQuotaExceeded, kerr.PolicyViolation, kerr.TransactionalIDAuthorizationFailed:
		return probes.Refusal(fmt.Errorf("the broker refuses it (%s)", k.Message))
	case kerr.UnknownTopicOrPartition:
		return errNoSuch
	case kerr.LeaderNotAvailable:
		return errNoLeader
	}
	return fmt.Errorf("the broker answered %s", k.Message)
}

// faults collects what could not be learned, from several goroutines, and groups it: one line for all that have the same fault.
type faults struct {
	mu sync.Mutex
	// names of topics, groups and brokers. The subject of their kind is topic, group or broker; empty: there is no name.
	names map[faultKind][]string
	// partitions are their ids. The subject of their kind is the name of their topic.
	partitions map[faultKind][]int32
}

// faultKind is what a fault is about, what it says, and whether it is a refusal.
type faultKind struct {
	subject, problem string
	refused          bool
}

func kindOf(subject string, err error) faultKind {
	return faultKind{subject, err.Error(), errors.Is(err, probes.ErrRefused)}
}

// fault of this kind, as an error.
func (k faultKind) fault(text string) error {
	if k.refused {
		return probes.Refusal(errors.New(text))
	}
	return errors.New(text)
}

func newFaults() *faults {
	return &faults{names: map[faultKind][]string{}, partitions: map[faultKind][]int32{}}
}

func (f *faults) add(subject, name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, name := kindOf(subject, err), probes.Shown(name)
	if !slices.Contains(f.names[k], name) {
		f.names[k] = append(f.names[k], name)
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
	k := kindOf(probes.Shown(p.Topic), err)
	f.partitions[k] = append(f.partitions[k], p.ID)
}

// err joins all faults in a fixed order, so that the same faults give the same text; nil without any.
func (f *faults) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, k := range sortedKinds(f.names) {
		names := f.names[k]
		slices.Sort(names)
		if k.subject == "" {
			errs = append(errs, k.fault(k.problem))
			continue
		}
		errs = append(errs, k.fault(fmt.Sprintf("%s %s: %s", plural(k.subject, len(names)), nameList(names), k.problem)))
	}
	for _, k := range sortedKinds(f.partitions) {
		ids := f.partitions[k]
		slices.Sort(ids)
		ids = slices.Compact(ids)
		errs = append(errs, k.fault(fmt.Sprintf("topic %s, %s %s: %s", k.subject, plural("partition", len(ids)), nameList(ranges(ids)), k.problem)))
	}
	return errors.Join(errs...)
}

func sortedKinds[V any](m map[faultKind]V) []faultKind {
	return slices.SortedFunc(maps.Keys(m), func(a, b faultKind) int {
		return cmp.Or(strings.Compare(a.subject, b.subject), strings.Compare(a.problem, b.problem))
	})
}

func plural(noun string, n int) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func nameList(names []string) string {
	if len(names) > maxNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}

// ranges writes sorted numbers as 0-2 and 5.
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
