package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// newMechanism gives what authenticates connections. It reads files, and asks AWS's chain of credentials, anew for each
// connection.
func newMechanism(c saslConfig) (sasl.Mechanism, error) {
	switch c.Mechanism {
	case saslPlain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			user, password, err := c.Credentials.Resolve()
			return plain.Auth{User: user, Pass: password}, err
		}), nil
	case scramSHA256:
		return scram.Sha256(scramAuth(c.Credentials)), nil
	case scramSHA512:
		return scram.Sha512(scramAuth(c.Credentials)), nil
	case oauthBearer:
		return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			token, err := os.ReadFile(c.TokenFile)
			if err != nil {
				return oauth.Auth{}, fmt.Errorf("token_file: %w", err)
			}
			return oauth.Auth{Token: strings.TrimSpace(string(token))}, nil
		}), nil
	case awsMSKIAM:
		return &mskIAM{region: c.Region}, nil
	}
	return nil, fmt.Errorf("sasl.mechanism %q is unknown; write PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM", c.Mechanism)
}

func scramAuth(c form.Credentials) func(context.Context) (scram.Auth, error) {
	return func(context.Context) (scram.Auth, error) {
		user, password, err := c.Resolve()
		return scram.Auth{User: user, Pass: password}, err
	}
}

// redactedMechanism leaves out of the error of a failed exchange what the broker answered: it may hold what was sent to it.
type redactedMechanism struct{ sasl.Mechanism }

type redactedSession struct {
	sasl.Session
	mechanism string
}

// Authenticate implements sasl.Mechanism.
func (d redactedMechanism) Authenticate(ctx context.Context, address string) (sasl.Session, []byte, error) {
	session, first, err := d.Mechanism.Authenticate(ctx, address)
	return redactedSession{session, d.Name()}, first, err
}

// Challenge implements sasl.Session.
func (d redactedSession) Challenge(answer []byte) (bool, []byte, error) {
	done, next, err := d.Session.Challenge(answer)
	if err != nil {
		return false, nil, probes.Refusal(fmt.Errorf("%s failed; check sasl's credentials", d.mechanism))
	}
	return done, next, nil
}

// mskIAM authenticates with a signed URL. The library has one too, which takes the region from the broker's name or the
// environment alone; this one takes it from the configuration.
type mskIAM struct {
	region string

	mu sync.Mutex
	// credentials are nil until first needed.
	credentials aws.CredentialsProvider
}

// Name implements sasl.Mechanism.
func (*mskIAM) Name() string { return awsMSKIAM }

// Authenticate implements sasl.Mechanism.
func (m *mskIAM) Authenticate(ctx context.Context, address string) (sasl.Session, []byte, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, err
	}
	chain, err := m.chain(ctx)
	if err != nil {
		return nil, nil, err
	}
	credentials, err := chain.Retrieve(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("no AWS credentials were found: %w", err)
	}
	payload, err := mskPayload(ctx, credentials, host, m.region, time.Now())
	return mskSession{}, payload, err
}

// chain gives AWS's standard chain of credentials, which keeps them until they expire.
func (m *mskIAM) chain(ctx context.Context) (aws.CredentialsProvider, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.credentials == nil {
		c, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(m.region))
		if err != nil {
			return nil, fmt.Errorf("the AWS configuration can't be loaded: %w", err)
		}
		m.credentials = c.Credentials
	}
	return m.credentials, nil
}

// mskPayload is the JSON of a presigned kafka-cluster:Connect, as brokers of MSK expect it.
func mskPayload(ctx context.Context, c aws.Credentials, host, region string, now time.Time) ([]byte, error) {
	const emptyBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // its SHA-256
	query := url.Values{"Action": {"kafka-cluster:Connect"}, "X-Amz-Expires": {"900"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, c, req, emptyBody, "kafka-cluster", region, now.UTC())
	if err != nil {
		return nil, errors.New("the AWS credentials can't sign") // the text may hold them
	}
	u, err := url.Parse(signed)
	if err != nil {
		return nil, errors.New("the signed URL can't be read") // it holds the signature
	}
	payload := map[string]string{"version": "2020_10_22", "host": host, "user-agent": "cacheinv_exporter"}
	for name, values := range u.Query() {
		payload[strings.ToLower(name)] = values[0]
	}
	return json.Marshal(payload)
}

// mskSession is an exchange that ends with the broker's first answer.
type mskSession struct{}

// Challenge implements sasl.Session.
func (mskSession) Challenge(answer []byte) (bool, []byte, error) {
	if len(answer) == 0 {
		return false, nil, errors.New("the broker's answer to AWS_MSK_IAM is empty")
	}
	return true, nil, nil
}
