package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"

	franzaws "github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

const testSecret = "s3cret-of-the-exporter"

// unsecuredToken is one that Kafka takes where it is not told how tokens are signed.
func unsecuredToken(t *testing.T, user string) string {
	t.Helper()
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"sub": user, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims) + "."
}

func tokenFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSASL runs against an Apache Kafka that asks who one is, and what one may see.
func TestSASL(t *testing.T) {
	servers.NoLeaks(t)
	k := servers.Kafka(t, append(servers.KafkaLogins(testSecret),
		"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		"listener.name.plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.plaintext.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
	)...)
	u := newUser(t, []string{k.Addr}, kgo.SASL(plain.Auth{User: "admin", Pass: "admin"}.AsMechanism()))
	u.create(t, "inv", 2)
	u.create(t, "secret", 1)
	u.produce(t, "inv", 0, 10)
	for _, g := range []string{"g", "hidden"} {
		u.commit(t, g, "inv", map[int32]int64{0: 4, 1: 0})
	}
	for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		user := kadm.UpsertSCRAM{User: "exporter", Mechanism: mechanism, Password: testSecret, Iterations: 4096}
		if _, err := u.admin.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{user}); err != nil {
			t.Fatal(err)
		}
	}
	acls := kadm.NewACLs().Allow("User:exporter").AllowHosts("*").Topics("inv").Groups("g").
		Operations(kadm.OpDescribe).ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := u.admin.CreateACLs(t.Context(), acls); err != nil {
		t.Fatal(err)
	}
	u.Close()
	dir := t.TempDir()
	password := form.Credentials{Username: "exporter", Password: testSecret}
	token := tokenFile(t, filepath.Join(dir, "token"), unsecuredToken(t, "exporter")+"\n")
	for _, c := range []saslConfig{
		{Mechanism: "PLAIN", Credentials: password},
		{Mechanism: "SCRAM-SHA-256", Credentials: password},
		{Mechanism: "SCRAM-SHA-512", Credentials: password},
		{Mechanism: "OAUTHBEARER", TokenFile: token},
	} {
		t.Run(c.Mechanism, func(t *testing.T) {
			kc := configOf([]string{k.Addr}, []string{"inv"}, []string{"g"})
			kc.SASL = &c
			servers.Eventually(t, "the rights are known to the broker", func() bool {
				_, err := probetest.SampleIn(t, openQueue(t, kc), 5*time.Second)
				return err == nil
			})
			probetest.WantDepth(t, sampleWell(t, openQueue(t, kc)), 6)
		})
	}
	t.Run("what may not be described", func(t *testing.T) {
		kc := configOf([]string{k.Addr}, []string{"inv", "secret"}, []string{"g", "hidden"})
		kc.SASL = &saslConfig{Mechanism: "PLAIN", Credentials: password}
		b, err := probetest.SampleIn(t, openQueue(t, kc), 10*time.Second)
		probetest.WantFault(t, b, err, "group hidden: ", "may not be described (GROUP_AUTHORIZATION_FAILED)",
			"topic secret: may not be described (TOPIC_AUTHORIZATION_FAILED)")
		wantRefusal(t, b, err)
		if g := probetest.GroupOf(t, b, "g"); g.Lag[inv(0)] != 6 || g.State != "Empty" {
			t.Errorf("the other group is %+v", g)
		}
		kc.Groups = probetest.Matches("hidden", "/^g$/")
		b, err = probetest.SampleIn(t, openQueue(t, kc), 10*time.Second)
		probetest.WantFault(t, b, err, "group hidden: ", "may not be described (GROUP_AUTHORIZATION_FAILED)")
		if hidden := probetest.GroupOf(t, b, "hidden"); hidden.State != "" || hidden.HasMembers || hidden.HasOffsets {
			t.Errorf("a group that is not shown is %+v", hidden)
		}
		kc = configOf([]string{k.Addr}, []string{"/./"}, []string{"/./"})
		kc.SASL = &saslConfig{Mechanism: "PLAIN", Credentials: password}
		if b = sampleWell(t, openQueue(t, kc)); len(b.Groups) != 1 || len(b.Ends) != 2 {
			t.Errorf("what is not shown was found: %+v", b)
		}
	})
	t.Run("a password that changes", func(t *testing.T) {
		kc := configOf([]string{k.Addr}, []string{"inv"}, []string{"g"})
		path := tokenFile(t, filepath.Join(dir, "password"), "wrong-"+testSecret)
		kc.SASL = &saslConfig{Mechanism: "SCRAM-SHA-512", Credentials: form.Credentials{Username: "exporter", PasswordFile: path}}
		q := openQueue(t, kc)
		b, err := probetest.SampleIn(t, q, 5*time.Second)
		probetest.WantFault(t, b, err, "SASL_AUTHENTICATION_FAILED", "check sasl's mechanism and credentials")
		wantRefusal(t, b, err)
		tokenFile(t, path, testSecret+"\n")
		probetest.WantDepth(t, sampleWell(t, q), 6)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		probetest.WantDepth(t, sampleWell(t, q), 6) // the connection stands
		q.conns.keep(nil)
		b, err = probetest.SampleIn(t, q, 5*time.Second)
		probetest.WantFault(t, b, err, "password_file: open "+path)
	})
	t.Run("a mechanism that the broker does not offer, none, and a plain client at a secret port", func(t *testing.T) {
		kc := configOf([]string{k.Addr}, []string{"inv"}, []string{"g"})
		kc.SASL = &saslConfig{Mechanism: "AWS_MSK_IAM", Region: "us-east-1"}
		b, err := probetest.SampleIn(t, openQueue(t, kc), 5*time.Second)
		probetest.WantFault(t, b, err, "does not offer the SASL mechanism (UNSUPPORTED_SASL_MECHANISM)")
		wantRefusal(t, b, err)
		kc.SASL = &saslConfig{Mechanism: "OAUTHBEARER", TokenFile: tokenFile(t, filepath.Join(dir, "bad token"), "none")}
		b, err = probetest.SampleIn(t, openQueue(t, kc), 5*time.Second)
		probetest.WantFault(t, b, err, "sasl's")
		wantRefusal(t, b, err)
		kc.SASL = nil
		b, err = probetest.SampleIn(t, openQueue(t, kc), 5*time.Second)
		probetest.WantFault(t, b, err, "check whether its port needs tls or sasl")
		kc.TLS = &form.TLS{}
		b, err = probetest.SampleIn(t, openQueue(t, kc), 5*time.Second)
		probetest.WantFault(t, b, err, k.Addr+": ")
	})
}

// wantRefusal of a broker that answered, so that it is up, and refused. No secret is in its text.
func wantRefusal(t *testing.T, b probes.Backlog, err error) {
	t.Helper()
	if !errors.Is(err, probes.ErrRefused) || strings.Contains(err.Error(), testSecret) || b.BrokersUp != 1 || b.BrokersDown != 0 {
		t.Errorf("error %v, %d brokers up, %d down", err, b.BrokersUp, b.BrokersDown)
	}
}

func TestFakeSCRAM(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "inv"), kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", "exporter", testSecret))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	kc := configOf(c.ListenAddrs(), []string{"inv"}, nil)
	for password, ok := range map[string]bool{testSecret: true, "wrong": false} {
		credentials := form.Credentials{Username: "exporter", Password: form.Secret(password)}
		kc.SASL = &saslConfig{Mechanism: "SCRAM-SHA-256", Credentials: credentials}
		if _, err := probetest.SampleIn(t, openQueue(t, kc), 5*time.Second); (err == nil) != ok {
			t.Errorf("password %s: %v", password, err)
		}
	}
}

// authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = template, recordKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func recordKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) issue(t *testing.T) tls.Certificate {
	t.Helper()
	key := recordKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "inv"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.issue(t)}, MinVersion: tls.VersionTLS12}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	kc := configOf(c.ListenAddrs(), []string{"inv"}, nil)
	path := tokenFile(t, filepath.Join(t.TempDir(), "ca.pem"), newAuthority(t).pem)
	kc.TLS = &form.TLS{CAFile: path}
	q := openQueue(t, kc)
	b, err := probetest.SampleIn(t, q, 5*time.Second)
	probetest.WantFault(t, b, err, "certificate signed by unknown authority")
	tokenFile(t, path, ca.pem)
	sampleWell(t, q) // the file is read again
	kc.TLS = &form.TLS{InsecureSkipVerify: true}
	sampleWell(t, openQueue(t, kc))
	kc.TLS = nil
	b, err = probetest.SampleIn(t, openQueue(t, kc), 5*time.Second)
	probetest.WantFault(t, b, err, "tls")
}

// The library's own mechanism is right where the broker's name holds the region; ours signs the same.
func TestMSK(t *testing.T) {
	const host = "b-1.cluster.abc.c2.kafka.eu-west-1.amazonaws.com"
	credentials := aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: testSecret, SessionToken: "session+token/="}
	theirs := franzaws.Auth{
		AccessKey: credentials.AccessKeyID, SecretKey: credentials.SecretAccessKey, SessionToken: credentials.SessionToken,
		UserAgent: "cacheinv_exporter",
	}
	servers.Eventually(t, "both sign within one second", func() bool {
		_, want, err := theirs.AsManagedStreamingIAMMechanism().Authenticate(t.Context(), host+":9098")
		if err != nil {
			t.Fatal(err)
		}
		got, err := mskPayload(t.Context(), credentials, host, "eu-west-1", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		w, g := map[string]string{}, map[string]string{}
		if err := json.Unmarshal(want, &w); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &g); err != nil {
			t.Fatal(err)
		}
		if w["x-amz-date"] != g["x-amz-date"] {
			return false
		}
		if fmt.Sprint(w) != fmt.Sprint(g) {
			t.Errorf("the library signs\n%v\nand we\n%v", w, g)
		}
		return true
	})
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	m, err := newMechanism(saslConfig{Mechanism: "AWS_MSK_IAM", Region: "eu-central-1"})
	if err != nil {
		t.Fatal(err)
	}
	session, first, err := m.Authenticate(t.Context(), "kafka.internal:9098")
	if err != nil || !strings.Contains(string(first), "/eu-central-1/kafka-cluster/aws4_request") ||
		strings.Contains(string(first), testSecret) {
		t.Errorf("%s, %v", first, err)
	}
	if done, _, err := session.Challenge([]byte("{}")); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	if _, _, err := session.Challenge(nil); err == nil {
		t.Error("an empty answer is none")
	}
}

func TestUnknownMechanism(t *testing.T) {
	kc := configOf([]string{"a:1"}, []string{"t"}, nil)
	kc.SASL = &saslConfig{Mechanism: "GSSAPI"}
	if _, err := newQueue(kc, nil, probetest.Env(), probetest.Quiet()); err == nil {
		t.Error("a mechanism that there is not was taken")
	}
	if _, err := newQueue(configOf([]string{"a:x"}, []string{"t"}, nil), nil, probetest.Env(), probetest.Quiet()); err == nil {
		t.Error("an address without a port number was taken")
	}
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{})
	go func() {
		if c, err := l.Accept(); err == nil {
			_ = c.Close()
			close(reached)
		}
	}()
	defer l.Close()
	q := openQueue(t, configOf([]string{l.Addr().String()}, []string{"t"}, nil))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, _ = q.Sample(ctx)
	select {
	case <-reached:
	case <-ctx.Done():
		t.Error("the broker was not reached")
	}
}
