package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/logging"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
)

// open gives the client, and makes it at the first call. It writes no log of its own, and has AWS's standard chain of
// credentials, which keeps them until they expire.
func (h *history) open(ctx context.Context) (*dynamodb.Client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.api != nil {
		return h.api, nil
	}
	c, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(h.config.Region), awsconfig.WithLogger(logging.Nop{}))
	if err != nil {
		if ctx.Err() != nil {
			return nil, probes.NoAnswer(ctx)
		}
		return nil, errors.New("the AWS configuration can't be loaded; check the files and environment of AWS's standard chain")
	}
	h.api = dynamodb.NewFromConfig(c, func(o *dynamodb.Options) {
		o.HTTPClient = sdkClient{h.client, &h.signatures}
		o.Retryer = aws.NopRetryer{} // the next sampling is the retry
		if h.config.Endpoint != "" {
			o.BaseEndpoint = aws.String(h.config.Endpoint)
		}
	})
	return h.api, nil
}

// sdkClient sends the SDK's requests over an httpclient.Client, so that they end with their caller and with Close.
type sdkClient struct {
	client     *httpclient.Client
	signatures *probes.Secrets
}

// transportError is an error of the connection. Its text holds nothing of the request, and can be shown.
type transportError struct{ error }

// Do implements the SDK's HTTPClient.
func (a sdkClient) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil { // a query may be sent again over another connection where the server had closed this one
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, transportError{err}
		}
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
		req.Header["X-Idempotency-Key"] = nil // tells net/http so, and is not sent
	}
	if _, signature, signed := strings.Cut(req.Header.Get("Authorization"), "Signature="); signed {
		a.signatures.Add("", signature)
	}
	resp, err := a.client.Send(req)
	if err != nil {
		return nil, transportError{err}
	}
	page, err := a.page(req.Context(), resp.Body)
	if closed := resp.Body.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, transportError{err}
	}
	resp.Body = io.NopCloser(bytes.NewReader(page))
	return resp, nil
}
