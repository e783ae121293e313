package collector

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func TestAppVersionsAreEvidence(t *testing.T) {
	broken, refused := errors.New("broken"), probes.Refusal(errors.New("status 401"))
	c := &appVersionCollector{apps: []appVersions{
		{name: "web", channels: []string{"bus"}, sample: func(context.Context) ([]probes.AppInstance, error) {
			return []probes.AppInstance{
				{Node: "a", Version: "1"}, {Node: "b", Version: "2"}, {Node: "c", Err: broken}, {Node: "d", Err: refused}, {Node: "e", Err: broken, Left: true},
			}, nil
		}},
		{name: "api", channels: []string{"another"}, sample: func(context.Context) ([]probes.AppInstance, error) { return nil, broken }},
	}}
	var adds Evidencer = c
	for range 2 { // the second replaces the first
		ch := make(chan prometheus.Metric, 100)
		if err := c.Update(t.Context(), nil, ch); !errors.Is(err, broken) {
			t.Errorf("the collector failed with %v", err)
		}
		if len(ch) != 9 { // of which one is how many subscribers the channel should have
			t.Errorf("%d series were sent", len(ch))
		}
		var got diagnosis.Evidence
		adds.AddEvidence(&got)
		want := []diagnosis.App{
			{Name: "web", Versions: map[string]string{"a": "1", "b": "2"}, Down: []string{"c"}, Refused: map[string]error{"d": refused}, Instances: probes.Count{Value: 4, Known: true}},
			{Name: "api", Versions: map[string]string{}, Refused: map[string]error{}},
		}
		if d := cmp.Diff(want, got.Apps, cmpopts.EquateErrors()); d != "" {
			t.Errorf("want (-), got (+):\n%s", d)
		}
	}
}
