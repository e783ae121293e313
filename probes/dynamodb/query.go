package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// pageQuery is the query for the next page of the pass. It asks only for the attributes that are needed.
func (h *history) pageQuery(limit int32) *dynamodb.QueryInput {
	upTo, c := h.upTo, h.config
	names := map[string]string{"#p": c.PartitionKey.Name, "#t": c.TimeAttribute}
	attributes := []string{c.TimeAttribute, c.StatusAttribute}
	for _, k := range upTo.keys {
		if !slices.Contains(attributes, k) {
			attributes = append(attributes, k)
		}
	}
	var projection []string
	for i, name := range attributes {
		placeholder := "#a" + strconv.Itoa(i)
		names[placeholder] = name
		projection = append(projection, placeholder)
	}
	from, to := upTo.bounds()
	return &dynamodb.QueryInput{
		TableName:                aws.String(c.Table),
		IndexName:                optional(c.Index),
		KeyConditionExpression:   aws.String("#p = :p AND #t BETWEEN :from AND :to"),
		ProjectionExpression:     aws.String(strings.Join(projection, ", ")),
		ExpressionAttributeNames: names,
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":p": h.partitionValue(upTo.pass.days[0]), ":from": from, ":to": to,
		},
		ExclusiveStartKey:      upTo.pass.after,
		Limit:                  aws.Int32(limit),
		ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	}
}

// checkTimeFormat checks that the items' times have the configured format, until some item was read: with a wrong format
// nothing would ever be found. It asks for the newest item, and gives the read units that were used.
func (h *history) checkTimeFormat(ctx context.Context, api *dynamodb.Client, now time.Time) (used float64, err error) {
	upTo, c := h.upTo, h.config
	if upTo.timeFormatSeen || len(upTo.keys) > 0 {
		return 0, nil
	}
	out, err := query(ctx, api, &dynamodb.QueryInput{
		TableName:                 aws.String(c.Table),
		IndexName:                 optional(c.Index),
		KeyConditionExpression:    aws.String("#p = :p"),
		ProjectionExpression:      aws.String("#t"),
		ExpressionAttributeNames:  map[string]string{"#p": c.PartitionKey.Name, "#t": c.TimeAttribute},
		ExpressionAttributeValues: map[string]types.AttributeValue{":p": h.partitionValue(now.UTC().Format(dayLayout))},
		ScanIndexForward:          aws.Bool(false),
		Limit:                     aws.Int32(1),
		ReturnConsumedCapacity:    types.ReturnConsumedCapacityTotal,
	})
	if err != nil {
		return 0, h.explain(ctx, err)
	}
	used = cost(out)
	h.onUsed(used)
	for _, item := range out.Items {
		at, ok := readTime(item[c.TimeAttribute], c.TimeFormat)
		if !ok || at.Year() < 2000 || at.Year() > now.Year()+100 {
			return used, fmt.Errorf("the newest item's %s is no time of the form %s; fix time_attribute or time_format", c.TimeAttribute, c.TimeFormat)
		}
		upTo.timeFormatSeen = true
	}
	return used, nil
}

// query the table. A panic of the library over an answer is its error.
func query(ctx context.Context, api *dynamodb.Client, in *dynamodb.QueryInput) (out *dynamodb.QueryOutput, err error) {
	ctx, end := withRoom(ctx)
	defer end()
	err = probes.Guarded(func() (err error) {
		out, err = api.Query(ctx, in)
		return err
	})
	if errors.Is(context.Cause(ctx), probes.ErrTooSlow) {
		err = probes.ErrTooSlow
	}
	return out, err
}

// partitionValue is the partition key's value of a day.
func (h *history) partitionValue(day string) types.AttributeValue {
	return &types.AttributeValueMemberS{Value: h.config.PartitionKey.Value.Expand(map[string]string{"date": day}, nil)}
}

// optional is nil for an empty string, as the SDK wants where nothing is given.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
