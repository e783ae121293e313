package dynamodb

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/configfiles"
)

func TestHistoriesAreRead(t *testing.T) {
	const list = `
- table: invalidation_history
  region: us-east-1
  endpoint: ""
  index: by_time
  partition_key: {name: day, value: "{date}"}
  time_attribute: at
  time_format: epoch_ms
  status_attribute: status
  failed_values: [FAILED, TIMEOUT]
  max_read_units: 50
- table: history
  region: eu-central-1
  endpoint: "http://127.0.0.1:8000"
  partition_key: {name: kind, value: "invalidation#{date}"}
  time_attribute: at
  time_format: rfc3339
  status_attribute: state
  failed_values: [FAILED]
- {table: h, region: r, partition_key: {name: k, value: all}, time_attribute: at, status_attribute: s, failed_values: [F]}
`
	got := configfiles.Blocks(t, t.TempDir(), list, readHistory)
	want := []*tableConfig{
		{
			Table: "invalidation_history", Region: "us-east-1", Index: "by_time", PartitionKey: partitionKey{Name: "day", Value: parseTemplate(t, "{date}")},
			TimeAttribute: "at", TimeFormat: "epoch_ms", StatusAttribute: "status", FailedValues: []string{"FAILED", "TIMEOUT"}, MaxReadUnits: 50,
		},
		{
			Table: "history", Region: "eu-central-1", Endpoint: "http://127.0.0.1:8000",
			PartitionKey:  partitionKey{Name: "kind", Value: parseTemplate(t, "invalidation#{date}")},
			TimeAttribute: "at", TimeFormat: "rfc3339", StatusAttribute: "state", FailedValues: []string{"FAILED"}, MaxReadUnits: 25,
		},
		{
			Table: "h", Region: "r", PartitionKey: partitionKey{Name: "k", Value: parseTemplate(t, "all")},
			TimeAttribute: "at", TimeFormat: "epoch_ms", StatusAttribute: "s", FailedValues: []string{"F"}, MaxReadUnits: 25,
		},
	}
	same := cmp.Comparer(func(a, b form.Template) bool { return a.String() == b.String() })
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}
