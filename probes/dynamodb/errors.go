package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// explain says what to do about an error of the SDK. Its text may hold the request with its tokens, so only known parts are
// repeated.
func (h *history) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return probes.NoAnswer(ctx)
	}
	c := h.config
	var answer interface { // an error that the server answered
		error
		ErrorCode() string
		ErrorMessage() string
	}
	var network transportError
	if errors.As(err, &network) {
		return network.error
	}
	if !errors.As(err, &answer) {
		return errors.New("the answer is incomplete, or not DynamoDB's; check the endpoint")
	}
	switch code := answer.ErrorCode(); code {
	case "ResourceNotFoundException":
		return fmt.Errorf("there is no table %s in %s, or none of that name at this endpoint; fix table, region or endpoint", c.Table, c.Region)
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
			c.Table, shortened(answer.ErrorMessage()))
	default:
		return fmt.Errorf("DynamoDB answered %s; the AWS documentation says what it means", shortened(code))
	}
}

// shortened puts what a server answered on one line, and cuts it at 200 characters.
func shortened(s string) string {
	r := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " "))
	if len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return string(r)
}
