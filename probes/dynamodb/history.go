package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

const (
	// behindTolerated is how far the counts of a table may be behind before the history counts as down.
	behindTolerated = time.Minute
	// maxPage bounds an answer of DynamoDB, in bytes; one has at most 1 MB of items.
	maxPage = 8 << 20
	// maxValues bounds the values in its JSON, of which the SDK makes some hundred bytes each: maxItems have no more.
	maxValues = 200_000
)

// They have no numbers: the log repeats an error only where its text changes.
var (
	errBehind = errors.New("more attempts were stamped than max_read_units lets be read: what is counted is more than a minute behind; " +
		"raise max_read_units, or let an index hold smaller items")
	errNotAskedFor = errors.New("an item is stamped earlier or later than was asked for, and was not counted; write times of rfc3339 in UTC, and check that the endpoint is a DynamoDB's")
	errSamePage    = errors.New("a page ends with the key after which it was to begin, and neither it nor what is behind it was counted; check that the endpoint is a DynamoDB's")
)

// history is a DynamoDB table with an item for each attempt. position says how it is read.
type history struct {
	*probes.Tally
	// upTo is the Tally's position, valid while a sampling runs.
	upTo   *position
	config tableConfig
	// source is the same text where a position remains valid.
	source string
	client *httpclient.Client
	// now gives the time; tests set it.
	now func() time.Time
	// onUsed is called with the read units of each page; tests set it.
	onUsed func(float64)

	mu sync.Mutex
	// api is nil until first needed.
	api *dynamodb.Client
	// secrets are the credentials, and signatures what was made of them for each request: no error may repeat them, whoever answers.
	secrets, signatures probes.Secrets
}

// Open implements probes.HistorySource.
func (c *tableConfig) Open(counts *probes.Tally, env *probes.Env) (probes.History, error) {
	return newHistory(*c, counts, env), nil
}

func newHistory(c tableConfig, counts *probes.Tally, env *probes.Env) *history {
	client := httpclient.New(form.HTTPClient{}, nil, "", env)
	identity := c
	identity.MaxReadUnits, identity.PartitionKey = 0, partitionKey{Name: c.PartitionKey.Name}
	return &history{
		Tally: counts, config: c, client: client, now: time.Now, onUsed: func(float64) {},
		source: fmt.Sprintf("dynamodb %q %q", fmt.Sprintf("%+v", identity), c.PartitionKey.Value.String()),
	}
}

// Sample implements probes.History: it reads pages until all is read, or the read units of one sampling are used up.
func (h *history) Sample(ctx context.Context) error {
	end, err := h.Begin(h.source)
	if err != nil {
		return err
	}
	defer end()
	upTo, ok := h.Position.(*position)
	if !ok {
		upTo = newPosition(h.Began, h.config.TimeFormat)
		h.Position = upTo
	}
	h.upTo = upTo
	api, err := h.open(ctx)
	if err != nil {
		return err
	}
	now := h.now()
	if err := h.read(ctx, api, now); err != nil {
		return err
	}
	switch {
	case upTo.odd != nil:
		return upTo.odd
	case now.Sub(upTo.complete) > behindTolerated:
		return errBehind
	}
	return nil
}

// read goes on with the pass under way, and then with a new one.
func (h *history) read(ctx context.Context, api *dynamodb.Client, now time.Time) error {
	upTo := h.upTo
	upTo.odd = nil
	budget := upTo.budget(float64(h.config.MaxReadUnits))
	defer func() { upTo.debt = max(0, -budget) }()
	for fresh := false; ; {
		if upTo.pass == nil {
			if fresh {
				used, err := h.checkTimeFormat(ctx, api, now)
				budget -= used
				return err
			}
			upTo.begin(now, len(h.config.PartitionKey.Value.Names()) > 0)
			fresh = true
		}
		used, err := h.countPage(ctx, api, budget)
		if budget -= used; err != nil || budget <= 0 {
			return err
		}
	}
}

// countPage asks for one page and counts what is in it. It gives the read units that were used.
func (h *history) countPage(ctx context.Context, api *dynamodb.Client, budget float64) (used float64, err error) {
	upTo := h.upTo
	credentials, err := api.Options().Credentials.Retrieve(ctx) // they are kept until they expire
	if err != nil {
		if ctx.Err() != nil {
			return 0, probes.NoAnswer(ctx)
		}
		return 0, errors.New("no AWS credentials were found; give them by the environment, a shared file or a role (AWS's standard chain)")
	}
	h.secrets.AddAll(credentials.SecretAccessKey, credentials.SessionToken, longID(credentials.AccessKeyID))
	limit, knewKeys := upTo.limit(budget), len(upTo.keys) > 0
	out, err := query(ctx, api, h.pageQuery(limit))
	if err != nil {
		return 0, h.explain(ctx, err)
	}
	used = upTo.learnCost(out, limit)
	h.onUsed(used)
	if len(out.LastEvaluatedKey) > 0 {
		if reflect.DeepEqual(out.LastEvaluatedKey, upTo.pass.after) {
			upTo.advance(nil) // a server that is in order again might not take the key
			return used, errSamePage
		}
		upTo.keys = sortedNames(out.LastEvaluatedKey)
	}
	ids := make(map[int]itemID, len(out.Items))
	for i, item := range out.Items {
		key := item
		if len(out.Items) == 1 && len(out.LastEvaluatedKey) > 0 {
			key = out.LastEvaluatedKey // before the names of the keys are known
		}
		if id, ok := identify(key, upTo.keys); ok {
			ids[i] = id
		}
	}
	if len(ids) < len(out.Items) {
		upTo.odd = fmt.Errorf("an item of table %s lacks a part of the primary key, and was not counted; check that the endpoint is a DynamoDB's", h.config.Table)
	}
	if len(ids) == 0 && len(out.Items) > 0 {
		upTo.keys = nil // perhaps the table was replaced by another one: they are learned anew
		if knewKeys {
			return used, upTo.odd // the same page is asked for again
		}
	}
	var total, failed float64
	for i, item := range out.Items {
		id, ok := ids[i]
		if !ok {
			continue
		}
		at, ok := readTime(item[h.config.TimeAttribute], h.config.TimeFormat)
		switch {
		case !ok:
			upTo.odd = fmt.Errorf("an item's %s is no time of the form %s, and was not counted; fix time_attribute or time_format", h.config.TimeAttribute, h.config.TimeFormat)
			continue
		case !upTo.pass.covers(at):
			upTo.odd = errNotAskedFor
			continue
		}
		isNew, newFailure := upTo.count(id, at, slices.Contains(h.config.FailedValues, attributeText(item[h.config.StatusAttribute])))
		if isNew {
			total++
		}
		if newFailure {
			failed++
		}
	}
	h.Add(total, failed)
	upTo.advance(out.LastEvaluatedKey)
	return used, nil
}

// longID gives the name of a key where it is one of AWS's. Another one may be a word that is in many texts.
func longID(id string) string {
	const least = 16
	if len(id) < least {
		return ""
	}
	return id
}

// Close implements probes.History: it ends all requests and connections.
func (h *history) Close() { h.client.Close() }
