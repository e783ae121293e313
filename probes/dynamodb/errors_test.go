package dynamodb

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// sampleError wants one, and says whether it is a refusal.
func sampleError(t testing.TB, h probes.History, want string) (refused bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := h.Sample(ctx)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
	if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n")) {
		t.Errorf("a secret or a second line is in %q", err)
	}
	return errors.Is(err, probes.ErrRefused)
}

// What a real server says to names that are wrong.
func TestWrongNames(t *testing.T) {
	servers.NoLeaks(t)
	a := newAttemptsTable(t, "epoch_ms")
	c := &clock{time.Now()}
	for name, f := range map[string]struct {
		change func(*tableConfig)
		want   string
	}{
		"table":         {func(d *tableConfig) { d.Table = "none" }, "there is no table none in us-east-1"},
		"index":         {func(d *tableConfig) { d.Index = "by_name" }, "check index, partition_key"},
		"partition key": {func(d *tableConfig) { d.PartitionKey.Name = "date" }, "the query does not fit table attempts"},
		"time":          {func(d *tableConfig) { d.TimeAttribute = "when" }, "the query does not fit table attempts"},
		"time's form":   {func(d *tableConfig) { d.TimeFormat = "rfc3339" }, "time_format"},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := *a
			f.change(&wrong.config)
			h := wrong.open(t, c)
			sampleError(t, h, f.want)
			if _, known := h.Attempts(); known {
				t.Error("something is known all the same")
			}
		})
	}
}

// A form that finds nothing is told as soon as there is any item.
func TestWrongTimeFormat(t *testing.T) {
	servers.NoLeaks(t)
	a := newAttemptsTable(t, "epoch_ms")
	c := &clock{time.Now()}
	wrong := *a
	wrong.config.TimeFormat = "epoch_s"
	h := wrong.open(t, c)
	probetest.SampleHistory(t, h) // the table is empty
	a.attempt(t, c.at, "FAILED")
	sampleError(t, h, "fix time_attribute or time_format")

	a.config.TimeFormat = "epoch_s"
	a.attempt(t, c.at, "FAILED")
	wrong.config.TimeFormat = "epoch_ms"
	_, err := a.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{
		TableName: aws.String("attempts"), Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "attempt-1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	sampleError(t, wrong.open(t, c), "fix time_attribute or time_format")
	probetest.SampleHistory(t, a.open(t, c))
}

// What AWS says, as its SDK takes it from an answer; its messages may hold the request with its tokens.
func TestRefusals(t *testing.T) {
	servers.NoLeaks(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret-of-aws")
	for code, want := range map[string]string{
		"ProvisionedThroughputExceededException": "lower max_read_units",
		"ThrottlingException":                    "the table throttles reads",
		"ExpiredTokenException":                  "have expired",
		"UnrecognizedClientException":            "AWS does not take the credentials",
		"InvalidSignatureException":              "AWS does not take the credentials",
		"AccessDeniedException":                  "allow dynamodb:Query",
		"InternalServerError":                    "DynamoDB answered InternalServerError",
		"":                                       "not DynamoDB's", // it is none at all
	} {
		refused := code != "InternalServerError" && code != ""
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if code == "" {
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, "<html>s3cret</html>")
				return
			}
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"x-amz-security-token:s3cret\nand more"}`, code)
		}))
		a := &attemptsTable{config: tableConfig{Table: "attempts", Region: "us-east-1", Endpoint: server.URL, MaxReadUnits: 25}}
		h := a.open(t, &clock{time.Now()})
		if sampleError(t, h, want) != refused {
			t.Errorf("%q is a refusal: %v, want %v", code, !refused, refused)
		}
		h.Close()
		server.Close()
	}
}

// Whoever answers may repeat what was sent, or know it otherwise: no error has a part of it, wherever it stands in an answer.
func TestEchoes(t *testing.T) {
	servers.NoLeaks(t)
	secrets := map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAQYLPMN5HKEXPORTR", "AWS_SECRET_ACCESS_KEY": "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", "AWS_SESSION_TOKEN": "IQoJb3JpZ2luX2VjE+Hn/s8wZ==",
	}
	for name, value := range secrets {
		t.Setenv(name, value)
	}
	// What is said, by what was sent with this request and with the one before.
	for said, of := range map[string]func(now, before http.Header) string{
		"the login":         func(now, _ http.Header) string { return now.Get("Authorization") },
		"the login before":  func(_, before http.Header) string { return before.Get("Authorization") },
		"the token":         func(now, _ http.Header) string { return now.Get("X-Amz-Security-Token") },
		"the key":           func(http.Header, http.Header) string { return secrets["AWS_SECRET_ACCESS_KEY"] },
		"the key's name":    func(http.Header, http.Header) string { return secrets["AWS_ACCESS_KEY_ID"] },
		"a part of the key": func(http.Header, http.Header) string { return secrets["AWS_SECRET_ACCESS_KEY"][7:20] },
		"the key in a URL":  func(http.Header, http.Header) string { return url.QueryEscape(secrets["AWS_SECRET_ACCESS_KEY"]) },
		"the key in base64": func(http.Header, http.Header) string {
			return base64.StdEncoding.EncodeToString([]byte(secrets["AWS_SECRET_ACCESS_KEY"]))
		},
		"the key, far behind": func(http.Header, http.Header) string {
			return strings.Repeat("x", 190) + secrets["AWS_SECRET_ACCESS_KEY"]
		},
	} {
		for where, format := range map[string]string{
			"a message":        `{"__type":"x#ValidationException","message":"not %s, %[1]s"}`,
			"a code":           `{"__type":"x#%s","message":"no"}`,
			"a name of a code": `{"__type":"%s#InternalServerError","message":"no"}`,
			"all of it":        `%s`,
		} {
			for _, status := range []int{http.StatusBadRequest, http.StatusInternalServerError, http.StatusOK, http.StatusFound} {
				var before http.Header
				var told []string
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					text := of(r.Header, before)
					told, before = append(told, text), r.Header.Clone()
					w.Header().Set("Content-Type", "application/x-amz-json-1.0")
					w.Header().Set("X-Amzn-Requestid", text)
					w.Header().Set("Location", "/"+text)
					if where == "a code" {
						w.Header().Set("X-Amzn-Errortype", text)
					}
					w.WriteHeader(status)
					_, _ = fmt.Fprintf(w, format, text)
				}))
				a := &attemptsTable{config: tableConfig{Table: "attempts", Region: "us-east-1", Endpoint: server.URL, MaxReadUnits: 25}}
				h := a.open(t, &clock{time.Now()})
				for range 3 {
					err := h.Sample(probetest.Within(t, 10*time.Second))
					if err == nil {
						continue // an answer of 200 whose JSON has nothing
					}
					const known = "AWS4-HMAC-SHA256 Credential us-east-1/dynamodb/aws4_request"
					for _, secret := range append(told, slices.Collect(maps.Values(secrets))...) {
						for i := 0; i+6 <= len(secret) && secret[i] != 'x'; i++ {
							if part := secret[i : i+6]; strings.Contains(err.Error(), part) && !strings.Contains(known, part) {
								t.Errorf("%s in %s, status %d: %q is told: %v", said, where, status, part, err)
								break
							}
						}
					}
				}
				h.Close()
				server.Close()
			}
		}
	}
}

// Without any credentials, and with a server that is not there or hangs, a sampling ends in time and says why.
func TestOutOfReach(t *testing.T) {
	servers.NoLeaks(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_CONFIG_FILE", "/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
	at := func(address string) *history {
		a := &attemptsTable{config: tableConfig{Table: "attempts", Region: "us-east-1", Endpoint: "http://" + address, MaxReadUnits: 25}}
		return a.open(t, &clock{time.Now()})
	}
	sampleError(t, at(servers.FreeAddr(t)), "no AWS credentials were found")
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret-of-aws")
	if sampleError(t, at(servers.FreeAddr(t)), "connection refused") {
		t.Error("what is not there has refused nothing")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	hung := at(servers.Hung(t))
	if err := hung.Sample(ctx); err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Error(err)
	}
	hung.Close()
	sampleError(t, hung, "closed")
}

func TestForgetsRatherThanGrow(t *testing.T) {
	began := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	p := newPosition(began, "epoch_ms")
	p.begin(began.Add(5*time.Second), true)
	const n = maxSeen + 10
	for i := range n {
		id := itemID{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
		if isNew, _ := p.count(id, began.Add(time.Duration(i/100)*time.Millisecond/4), false); !isNew {
			t.Fatalf("item %d is not new", i)
		}
	}
	if len(p.coming) > maxSeen {
		t.Errorf("%d items are remembered", len(p.coming))
	}
	p.advance(nil)
	p.begin(began.Add(6*time.Second), true)
	for i := range n {
		at := began.Add(time.Duration(i/100) * time.Millisecond / 4)
		if at.Before(p.low) {
			continue // not asked for
		}
		id := itemID{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
		if isNew, _ := p.count(id, at, false); isNew {
			t.Fatalf("item %d counts twice", i)
		}
	}
}

// However many new items each pass has, and in whatever order they come, few are remembered, and the next pass begins no later than at
// the end of this one's last second.
func TestPassesForget(t *testing.T) {
	began := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	p := newPosition(began, "epoch_ms")
	made := uint32(0)
	for pass := range 3 {
		now := began.Add(time.Duration(9+pass) * time.Second)
		p.begin(now, false)
		for i := range maxSeen {
			var id itemID
			binary.BigEndian.PutUint32(id[:], made)
			made++
			p.count(id, now.Add(-time.Duration(i%9000)*time.Millisecond), false)
		}
		if n := len(p.seen) + len(p.coming); n > maxSeen+10 {
			t.Fatalf("pass %d: %d items are remembered", pass, n)
		}
		p.advance(nil)
		if p.low.After(now.Add(time.Second)) {
			t.Fatalf("after %v the next pass begins at %v", now, p.low)
		}
	}
}

// Whatever an attribute holds, a time that is read is one that the format can write.
func FuzzStamp(f *testing.F) {
	for _, s := range []string{"1772452800123", "1772452800", "1772452800.5", "2026-03-02T12:00:00Z", "2026-03-02T12:00:00.5+02:00", "", "NaN", "1e400", "-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, format := range []string{"epoch_ms", "epoch_s"} {
			at, ok := readTime(&types.AttributeValueMemberN{Value: s}, format)
			if !ok {
				continue
			}
			digits := 9
			if format == "epoch_ms" {
				digits = 6
			}
			back, ok := readTime(&types.AttributeValueMemberN{Value: decimal(at, digits)}, format)
			if positive := at.UnixNano() >= int64(math.Pow10(digits)) && at.Year() < 2200; positive && (!ok || back.Sub(at).Abs() > time.Millisecond) {
				t.Errorf("%s: %q is %v, and again %v", format, s, at, back)
			}
		}
		if at, ok := readTime(&types.AttributeValueMemberS{Value: s}, "rfc3339"); ok && at.IsZero() && !strings.HasPrefix(s, "0001") {
			t.Errorf("%q is %v", s, at)
		}
	})
}

// Two items are one only where all their keys are the same.
func FuzzIdentify(f *testing.F) {
	f.Add("a", "b", "ab", "")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		item := func(x, y string) map[string]types.AttributeValue {
			return map[string]types.AttributeValue{"k": &types.AttributeValueMemberS{Value: x}, "l": &types.AttributeValueMemberN{Value: y}}
		}
		keys := []string{"k", "l"}
		one, ok := identify(item(a, b), keys)
		two, ok2 := identify(item(c, d), keys)
		if !ok || !ok2 || (one == two) != (a == c && b == d) {
			t.Errorf("%q %q and %q %q: %x, %x", a, b, c, d, one, two)
		}
		if _, ok := identify(item(a, b), []string{"k", "m"}); ok {
			t.Error("a key is missing")
		}
	})
}
