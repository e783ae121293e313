package detection

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// recorded is a history of invalidations in a table of DynamoDB, to which ten a second are added; half of them fail once the
// fault begins.
func recorded(t *testing.T, _ *station) estate {
	d := servers.StartDynamoDB(t)
	key := func(name string, k types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: aws.String(name), KeyType: k}
	}
	attribute := func(name string, k types.ScalarAttributeType) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: k}
	}
	_, err := d.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String("attempts"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			attribute("id", types.ScalarAttributeTypeS), attribute("day", types.ScalarAttributeTypeS), attribute("at", types.ScalarAttributeTypeN),
		},
		KeySchema: []types.KeySchemaElement{key("id", types.KeyTypeHash)},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String("by_time"), KeySchema: []types.KeySchemaElement{key("day", types.KeyTypeHash), key("at", types.KeyTypeRange)},
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeInclude, NonKeyAttributes: []string{"status"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var recording sync.WaitGroup
	over, fault := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(over)
		recording.Wait()
	})
	recording.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			case <-time.After(100 * time.Millisecond):
			}
			status := "OK"
			select {
			case <-fault:
				if n%2 == 0 {
					status = "FAILED"
				}
			default:
			}
			now := time.Now()
			if _, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("attempts"), Item: map[string]types.AttributeValue{
				"id": &types.AttributeValueMemberS{Value: strconv.Itoa(n)}, "day": &types.AttributeValueMemberS{Value: now.UTC().Format(time.DateOnly)},
				"at": &types.AttributeValueMemberN{Value: strconv.FormatInt(now.UnixMilli(), 10)}, "status": &types.AttributeValueMemberS{Value: status},
			}}); err != nil && t.Context().Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	config := fmt.Sprintf(`
history:
  - {name: invalidations, dynamodb: {table: attempts, region: us-east-1, endpoint: %q, index: by_time,
     partition_key: {name: day, value: "{date}"}, time_attribute: at, status_attribute: status, failed_values: [FAILED]}}
`, d.URL)
	return estate{config: config, fault: func(*servers.Process) { close(fault) }}
}
