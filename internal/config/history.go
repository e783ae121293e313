package config

// history of invalidation attempts.
func (v value) history(histories taken) History {
	s := v.section()
	h := History{}
	name := s.get("name")
	if s.require(name, "the history's name") {
		h.Name = name.name("the history's name")
		histories.add(name, h.Name, "history")
	}
	dynamo, http := s.get("dynamodb"), s.get("http")
	s.exactlyOne(dynamo, http)
	if dynamo.given() {
		h.DynamoDB = dynamo.dynamoDB()
	}
	if http.given() {
		h.HTTP = http.httpHistory()
	}
	s.done()
	return h
}

const (
	// usualReadUnits are what a sampling may consume unless the file says otherwise.
	usualReadUnits = 25
	// mostReadUnits is what AWS gives a table without being asked for more.
	mostReadUnits = 40_000
)

// dynamoDB is a table with an item for each attempt.
func (v value) dynamoDB() *DynamoDB {
	s := v.section()
	d := &DynamoDB{}
	word := func(field, what string) string {
		f := s.get(field)
		s.require(f, what)
		return f.word(what)
	}
	d.Table = word("table", "the table's name")
	d.Region = word("region", "the table's region, such as us-east-1")
	if endpoint := s.get("endpoint"); endpoint.given() {
		if text, ok := endpoint.text("a URL"); ok && text != "" { // "" is none
			d.Endpoint = endpoint.url()
		}
	}
	d.Index = s.get("index").word("the name of an index")
	key := s.get("partition_key")
	if s.require(key, "name and value of the partition key, such as {name: day, value: \"{date}\"}") {
		d.PartitionKey = key.dynamoDBKey()
	}
	d.TimeAttribute = word("time_attribute", "the sort key, which holds an attempt's time")
	d.TimeFormat = s.get("time_format").oneOf("epoch_ms", "epoch_ms", "epoch_s", "rfc3339")
	d.StatusAttribute = word("status_attribute", "the attribute that says what became of an attempt")
	failed := s.get("failed_values")
	s.require(failed, "a list of what the status of a failed attempt is, such as [FAILED]")
	d.FailedValues, _ = failed.words("values", "a value")
	d.MaxReadUnits = int(s.get("max_read_units").whole(usualReadUnits, mostReadUnits))
	s.done()
	return d
}

func (v value) dynamoDBKey() DynamoDBKey {
	s := v.section()
	k := DynamoDBKey{}
	name, val := s.get("name"), s.get("value")
	if s.require(name, "the partition key's name") {
		k.Name = name.word("the partition key's name")
	}
	if s.require(val, "its value, such as {date}") {
		k.Value = val.template([]string{"date"})
	}
	s.done()
	return k
}

// httpHistory tells counters in JSON.
func (v value) httpHistory() *HTTPHistory {
	s := v.section()
	h := &HTTPHistory{}
	u, succeeded, failed := s.get("url"), s.get("succeeded"), s.get("failed")
	if s.require(u, "the URL that tells the counters") {
		h.URL = u.url()
	}
	if s.require(succeeded, "the path of the counter of attempts that succeeded, such as $.succeeded") {
		h.Succeeded = succeeded.jsonPath()
	}
	if s.require(failed, "the path of the counter of attempts that failed, such as $.failed") {
		h.Failed = failed.jsonPath()
	}
	h.Client = s.client()
	s.done()
	return h
}
