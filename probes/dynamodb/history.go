package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/logging"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

const (
	// behindTolerated is how far the counts of a table may be behind before the history counts as down.
	behindTolerated = time.Minute
	// maxPage bounds an answer of DynamoDB, in bytes; one has at most 1 MB of items.
	maxPage = 16 << 20
)

// errBehind has no numbers, so that it is told once and not at each sampling.
var errBehind = errors.New("more attempts were stamped than max_read_units lets be read: what is counted is more than a minute behind; " +
	"raise max_read_units, or let an index hold smaller items")

// history is a DynamoDB table with an item for each attempt. tablePlace says how it is read.
type history struct {
	*probes.Tally
	// at is the tally's position, while a sampling runs.
	at     *position
	config tableConfig
	source string
	client *httpclient.Client
	now    func() time.Time
	// used is told the read units of each page.
	used func(float64)

	mu  sync.Mutex
	api *dynamodb.Client
}

func newHistory(c tableConfig, counts *probes.Tally, opt *probes.Env) (*history, error) {
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" {
			return nil, httpclient.ErrNoURL
		}
	}
	client := httpclient.New(form.HTTPClient{}, nil, "", opt)
	identity := c
	identity.MaxReadUnits, identity.PartitionKey = 0, partitionKey{Name: c.PartitionKey.Name}
	return &history{
		Tally: counts, config: c, client: client, now: time.Now, used: func(float64) {},
		source: fmt.Sprintf("dynamodb %q %q", fmt.Sprintf("%+v", identity), c.PartitionKey.Value.String()),
	}, nil
}

// Sample implements History: it reads pages until all is read, or the read units of one sampling are used up.
func (d *history) Sample(ctx context.Context) error {
	end, err := d.Begin(d.source)
	if err != nil {
		return err
	}
	defer end()
	table, begun := d.Position.(*position)
	if !begun {
		table = newPosition(d.Began, d.config.TimeFormat)
		d.Position = table
	}
	d.at = table
	api, err := d.open(ctx)
	if err != nil {
		return err
	}
	now := d.now()
	if err := d.read(ctx, api, now); err != nil {
		return err
	}
	switch t := d.at; {
	case t.odd:
		return fmt.Errorf("an item's %s is no time of the form %s, and was not counted; mend time_attribute or time_format", d.config.TimeAttribute, d.config.TimeFormat)
	case now.Sub(t.complete) > behindTolerated:
		return errBehind
	}
	return nil
}

// read goes on with the pass under way, and then with a new one.
func (d *history) read(ctx context.Context, api *dynamodb.Client, now time.Time) error {
	t := d.at
	t.odd = false
	budget := t.budget(float64(d.config.MaxReadUnits))
	defer func() { t.debt = max(0, -budget) }()
	for fresh := false; ; {
		if t.pass == nil {
			if fresh {
				used, err := d.newest(ctx, api, now)
				budget -= used
				return err
			}
			t.begin(now, len(d.config.PartitionKey.Value.Names()) > 0)
			fresh = true
		}
		used, err := d.page(ctx, api, budget)
		if budget -= used; err != nil || budget <= 0 {
			return err
		}
	}
}

// page asks for one page and counts what is in it. It gives the read units that were used.
func (d *history) page(ctx context.Context, api *dynamodb.Client, budget float64) (used float64, err error) {
	t := d.at
	if _, err := api.Options().Credentials.Retrieve(ctx); err != nil { // they are kept until they expire
		if ctx.Err() != nil {
			return 0, probes.NoAnswer(ctx)
		}
		return 0, errors.New("no AWS credentials were found; give them by the environment, a shared file or a role (AWS's standard chain)")
	}
	limit := t.limit(budget)
	out, err := api.Query(ctx, d.query(limit))
	if err != nil {
		return 0, d.explain(ctx, err)
	}
	used = t.charge(out, limit)
	d.used(used)
	if len(out.LastEvaluatedKey) > 0 {
		t.keys = attributeNames(out.LastEvaluatedKey)
	}
	ids := make([]itemID, len(out.Items))
	for i, item := range out.Items {
		key := item
		if len(out.Items) == 1 && len(out.LastEvaluatedKey) > 0 {
			key = out.LastEvaluatedKey // before the names of the keys are known
		}
		ok := false
		if ids[i], ok = identify(key, t.keys); !ok {
			t.keys = nil // perhaps another table stands there now: they are learned anew
			return used, fmt.Errorf("the items of table %s lack a part of the primary key; check that the endpoint is a DynamoDB's", d.config.Table)
		}
	}
	var total, failed float64
	for i, item := range out.Items {
		at, ok := stampOf(item[d.config.TimeAttribute], d.config.TimeFormat)
		if !ok {
			t.odd = true
			continue
		}
		news, fails := t.see(ids[i], at, slices.Contains(d.config.FailedValues, textOf(item[d.config.StatusAttribute])))
		total, failed = total+number(news), failed+number(fails)
	}
	d.Add(total, failed)
	t.turn(out.LastEvaluatedKey)
	return used, nil
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// newest checks that the items' times are of the configured form, until some item was read: a form that is wrong would
// find nothing for ever. It asks for one item, and gives the read units that were used.
func (d *history) newest(ctx context.Context, api *dynamodb.Client, now time.Time) (used float64, err error) {
	t, c := d.at, d.config
	if t.formed || len(t.keys) > 0 {
		return 0, nil
	}
	out, err := api.Query(ctx, &dynamodb.QueryInput{
		TableName:                 aws.String(c.Table),
		IndexName:                 optional(c.Index),
		KeyConditionExpression:    aws.String("#p = :p"),
		ProjectionExpression:      aws.String("#t"),
		ExpressionAttributeNames:  map[string]string{"#p": c.PartitionKey.Name, "#t": c.TimeAttribute},
		ExpressionAttributeValues: map[string]types.AttributeValue{":p": d.partition(now.UTC().Format(dayLayout))},
		ScanIndexForward:          aws.Bool(false),
		Limit:                     aws.Int32(1),
		ReturnConsumedCapacity:    types.ReturnConsumedCapacityTotal,
	})
	if err != nil {
		return 0, d.explain(ctx, err)
	}
	used = cost(out)
	d.used(used)
	for _, item := range out.Items {
		at, ok := stampOf(item[c.TimeAttribute], c.TimeFormat)
		if !ok || at.Year() < 2000 || at.Year() > now.Year()+100 {
			return used, fmt.Errorf("the newest item's %s is no time of the form %s; mend time_attribute or time_format", c.TimeAttribute, c.TimeFormat)
		}
		t.formed = true
	}
	return used, nil
}

// partition of a day.
func (d *history) partition(day string) types.AttributeValue {
	return &types.AttributeValueMemberS{Value: d.config.PartitionKey.Value.Expand(map[string]string{"date": day}, nil)}
}

// query for the next page of the pass.
func (d *history) query(limit int32) *dynamodb.QueryInput {
	t, c := d.at, d.config
	names := map[string]string{"#p": c.PartitionKey.Name, "#t": c.TimeAttribute}
	asked := []string{c.TimeAttribute, c.StatusAttribute}
	for _, k := range t.keys {
		if !slices.Contains(asked, k) {
			asked = append(asked, k)
		}
	}
	var projection []string
	for i, name := range asked {
		place := "#a" + strconv.Itoa(i)
		names[place] = name
		projection = append(projection, place)
	}
	from, to := t.bounds()
	return &dynamodb.QueryInput{
		TableName:                aws.String(c.Table),
		IndexName:                optional(c.Index),
		KeyConditionExpression:   aws.String("#p = :p AND #t BETWEEN :from AND :to"),
		ProjectionExpression:     aws.String(strings.Join(projection, ", ")),
		ExpressionAttributeNames: names,
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":p": d.partition(t.pass.days[0]), ":from": from, ":to": to,
		},
		ExclusiveStartKey:      t.pass.after,
		Limit:                  aws.Int32(limit),
		ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// open gives the client, which writes no log of its own, with AWS's standard chain of credentials, which keeps them until they expire.
func (d *history) open(ctx context.Context) (*dynamodb.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.api != nil {
		return d.api, nil
	}
	c, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(d.config.Region), awsconfig.WithLogger(logging.Nop{}))
	if err != nil {
		if ctx.Err() != nil {
			return nil, probes.NoAnswer(ctx)
		}
		return nil, errors.New("the AWS configuration can't be loaded; check the files and environment of AWS's standard chain")
	}
	d.api = dynamodb.NewFromConfig(c, func(o *dynamodb.Options) {
		o.HTTPClient = awsHTTP{d.client}
		o.Retryer = aws.NopRetryer{} // the next sampling is the retry
		if d.config.Endpoint != "" {
			o.BaseEndpoint = aws.String(d.config.Endpoint)
		}
	})
	return d.api, nil
}

// Close ends all requests and connections.
func (d *history) Close() { d.client.Close() }

// explain an error of AWS. What it says itself may hold the request with its tokens, so only known parts are repeated.
func (d *history) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return probes.NoAnswer(ctx)
	}
	c := d.config
	var said interface {
		error
		ErrorCode() string
		ErrorMessage() string
	}
	var network transportError
	if errors.As(err, &network) {
		return network.error
	}
	if !errors.As(err, &said) {
		return errors.New("the answer is incomplete, or not DynamoDB's; check the endpoint")
	}
	switch code := said.ErrorCode(); code {
	case "ResourceNotFoundException":
		return fmt.Errorf("there is no table %s in %s, or none of that name at this endpoint; mend table, region or endpoint", c.Table, c.Region)
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "LimitExceededException":
		return fmt.Errorf("the table throttles reads (%s); lower max_read_units, or give the table more capacity", code)
	case "ExpiredTokenException", "ExpiredToken":
		return fmt.Errorf("the AWS credentials have expired (%s); renew them", code)
	case "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignatureException", "MissingAuthenticationTokenException", "InvalidClientTokenId":
		return fmt.Errorf("AWS does not take the credentials (%s); check them, and this machine's clock", code)
	case "AccessDeniedException":
		return fmt.Errorf("the AWS credentials may not query table %s (%s); allow dynamodb:Query on it and on its index", c.Table, code)
	case "ValidationException":
		return fmt.Errorf("the query does not fit table %s (%s); check index, partition_key, time_attribute, time_format and status_attribute",
			c.Table, shortened(said.ErrorMessage()))
	default:
		return fmt.Errorf("DynamoDB answered %s; the AWS documentation says what it means", shortened(code))
	}
}

// shortened is what a server said, on one line and not longer than anybody reads.
func shortened(s string) string {
	r := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " "))
	if len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return string(r)
}

// awsHTTP carries AWS's requests over a client of ours, so that they end with their caller and with Close.
type awsHTTP struct{ client *httpclient.Client }

// transportError is one of the network: its text is safe.
type transportError struct{ error }

// Do implements the SDK's HTTPClient.
func (a awsHTTP) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil { // a query may be sent again over another connection where the server had closed this one
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, transportError{err}
		}
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
		req.Header["X-Idempotency-Key"] = nil // tells net/http so, and is not sent
	}
	resp, err := a.client.Send(req)
	if err != nil {
		return nil, transportError{err}
	}
	resp.Body = awsBody{io.LimitReader(resp.Body, maxPage), resp.Body}
	return resp, nil
}

// awsBody is a body of bounded size.
type awsBody struct {
	io.Reader
	io.Closer
}
