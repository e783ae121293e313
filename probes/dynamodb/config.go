package dynamodb

import "github.com/cacheinv/cacheinv_exporter/internal/form"

// tableConfig is a table with one item for each attempt: the block history[].dynamodb.
type tableConfig struct {
	Table, Region string
	// Endpoint is a URL in place of the region's own; empty: none.
	Endpoint string
	// Index that is queried; empty: the table itself.
	Index        string
	PartitionKey partitionKey
	// TimeAttribute is the sort key, and holds an attempt's time as TimeFormat says: epochMS, epochS or rfc3339.
	TimeAttribute, TimeFormat string
	// StatusAttribute is one of FailedValues in an attempt that failed.
	StatusAttribute string
	FailedValues    []string
	// MaxReadUnits that a sampling may consume.
	MaxReadUnits int
}

// partitionKey is the partition key of the items.
type partitionKey struct {
	Name string
	// Value may hold {date}, the day in UTC as 2006-01-02.
	Value form.Template
}

// What time_format may be.
const (
	epochMS = "epoch_ms"
	epochS  = "epoch_s"
	rfc3339 = "rfc3339"
)

const (
	// usualReadUnits are what a sampling may consume unless the file says otherwise.
	usualReadUnits = 25
	// mostReadUnits is what AWS gives a table without being asked for more.
	mostReadUnits = 40_000
)

// readHistory reads a table with an item for each attempt.
func readHistory(v form.Value) *tableConfig {
	b := v.Block()
	d := &tableConfig{}
	word := func(field, what string) string {
		f := b.Get(field)
		b.Require(f, what)
		return f.Word(what)
	}
	d.Table = word("table", "the table's name")
	d.Region = word("region", "the table's region, such as us-east-1")
	if endpoint := b.Get("endpoint"); endpoint.Given() {
		if text, ok := endpoint.Text("a URL"); ok && text != "" { // "" is none
			d.Endpoint = endpoint.URL()
		}
	}
	d.Index = b.Get("index").Word("the name of an index")
	key := b.Get("partition_key")
	if b.Require(key, "name and value of the partition key, such as {name: day, value: \"{date}\"}") {
		d.PartitionKey = readPartitionKey(key)
	}
	d.TimeAttribute = word("time_attribute", "the sort key, which holds an attempt's time")
	d.TimeFormat = b.Get("time_format").OneOf(epochMS, epochMS, epochS, rfc3339)
	d.StatusAttribute = word("status_attribute", "the attribute that says what became of an attempt")
	failed := b.Get("failed_values")
	b.Require(failed, "a list of what the status of a failed attempt is, such as [FAILED]")
	d.FailedValues, _ = failed.Words("values", "a value")
	d.MaxReadUnits = int(b.Get("max_read_units").Whole(usualReadUnits, mostReadUnits))
	b.Done()
	return d
}

// readPartitionKey reads the name of the partition key and its value.
func readPartitionKey(v form.Value) partitionKey {
	b := v.Block()
	k := partitionKey{}
	name, val := b.Get("name"), b.Get("value")
	if b.Require(name, "the partition key's name") {
		k.Name = name.Word("the partition key's name")
	}
	if b.Require(val, "its value, such as {date}") {
		k.Value = val.Template([]string{"date"})
	}
	b.Done()
	return k
}
