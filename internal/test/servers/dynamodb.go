package servers

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/logging"
)

// DynamoDBServer is a DynamoDB Local in memory, with a client beside it.
type DynamoDBServer struct {
	*Process
	*dynamodb.Client
	// URL of its endpoint.
	URL string
}

// DynamoDBEnvironment has the credentials that a DynamoDB Local, which takes any, is given.
func DynamoDBEnvironment() map[string]string {
	return map[string]string{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "s3cret-of-aws", "AWS_EC2_METADATA_DISABLED": "true"}
}

// DynamoDB starts a DynamoDB Local. The test's environment gets the credentials that it takes.
func DynamoDB(t *testing.T) *DynamoDBServer {
	t.Helper()
	for name, value := range DynamoDBEnvironment() {
		t.Setenv(name, value)
	}
	return StartDynamoDB(t)
}

// StartDynamoDB leaves the environment alone: tests that run in parallel may not change it.
func StartDynamoDB(t testing.TB) *DynamoDBServer {
	t.Helper()
	addr := FreeAddr(t)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	d := &DynamoDBServer{URL: "http://" + addr}
	d.Client = dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(d.URL), HTTPClient: &http.Client{Transport: transport},
		Logger: logging.Nop{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "s3cret-of-aws"}, nil
		}),
	})
	d.start(t, addr)
	return d
}

func (d *DynamoDBServer) start(t testing.TB, addr string) {
	t.Helper()
	lib := filepath.Join(root(t), ".deps", "dynamodb")
	if jars, err := filepath.Glob(filepath.Join(lib, "DynamoDBLocal-*.jar")); err != nil || len(jars) == 0 {
		t.Fatalf("DynamoDB Local is not in .deps/dynamodb, and the tests need it: run make deps")
	}
	answers := func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // cleanups run without the test's own
		defer cancel()
		_, err := d.ListTables(ctx, &dynamodb.ListTablesInput{}, func(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} })
		return err == nil
	}
	d.Process = start(t, addr, answers, "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.library.path="+lib,
		"-cp", filepath.Join(lib, "*"), "com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
		"-inMemory", "-port", Port(t, addr), "-disableTelemetry")
}

// Restart ends the server, if it runs, and starts it again; its tables are gone.
func (d *DynamoDBServer) Restart(t testing.TB) {
	t.Helper()
	d.Stop()
	d.start(t, d.Addr)
}
