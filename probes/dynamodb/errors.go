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
	if errors.Is(err, probes.ErrPanic) || errors.Is(err, probes.ErrTooSlow) {
		return err
	}
	if !errors.As(err, &answer) {
		return errors.New("the answer is incomplete, or not DynamoDB's; check the endpoint")
	}
	return c.refusal(h.hide(answer.ErrorCode()), h.hide(answer.ErrorMessage()))
}

// hide gives what a server said as it can be told: shortened, and without what was given to it.
func (h *history) hide(said string) string { return h.signatures.Hide(h.secrets.Hide(shortened(said))) }

// refusal says what to do about an error code that the service answered. It is one unless the service itself failed.
func (c tableConfig) refusal(code, message string) error {
	var err error
	switch code {
	case "ResourceNotFoundException":
		err = fmt.Errorf("there is no table %s in %s, or none of that name at this endpoint; fix table, region or endpoint", c.Table, c.Region)
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "LimitExceededException":
		err = fmt.Errorf("the table throttles reads (%s); lower max_read_units, or give the table more capacity", code)
	case "ExpiredTokenException", "ExpiredToken":
		err = fmt.Errorf("the AWS credentials have expired (%s); renew them", code)
	case "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignatureException", "MissingAuthenticationTokenException", "InvalidClientTokenId":
		err = fmt.Errorf("AWS does not take the credentials (%s); check them, and this machine's clock", code)
	case "AccessDeniedException":
		err = fmt.Errorf("the AWS credentials may not query table %s (%s); allow dynamodb:Query on it and on its index", c.Table, code)
	case "ValidationException":
		err = fmt.Errorf("the query does not fit table %s (%s); check index, partition_key, time_attribute, time_format and status_attribute",
			c.Table, message)
	default: // InternalServerError, ServiceUnavailable
		return fmt.Errorf("DynamoDB answered %s; the AWS documentation says what it means", code)
	}
	return probes.Refusal(err)
}

// shortened puts what a server answered on one line, and cuts it at 200 characters.
func shortened(s string) string {
	r := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " "))
	if len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return string(r)
}
