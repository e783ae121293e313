package form

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// Resolve gives user and password; a file is read again each time. The error names the file.
func (c Credentials) Resolve() (user, password string, err error) {
	if c.PasswordFile == "" {
		return c.Username, string(c.Password), nil
	}
	data, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", "", fmt.Errorf("password_file: %w", err)
	}
	password = strings.TrimRight(string(data), "\r\n")
	if password == "" { // else the server would be asked without one, and say only that it wants one
		return "", "", fmt.Errorf("password_file: %s is empty", c.PasswordFile)
	}
	return c.Username, password, nil
}

// Build gives the settings for crypto/tls; nil for a plain connection. Files are read again each time.
func (t *TLS) Build() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	out := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify} //nolint:gosec // the user's own choice
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no certificate in PEM form", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file and key_file: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// Dial connects to host:port by TCP, plain where t is nil, else with TLS: the connection is given when both sides have
// greeted. Files are read again each time. Without a ServerName the server is to prove the address's host.
func (t *TLS) Dial(ctx context.Context, address string) (net.Conn, error) {
	settings, err := t.Build()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	var conn net.Conn
	if settings == nil {
		conn, err = d.DialContext(ctx, "tcp", address)
	} else {
		secure := tls.Dialer{NetDialer: &d, Config: settings} // it takes the server's name from the address
		conn, err = secure.DialContext(ctx, "tcp", address)
	}
	return conn, advised(err)
}

// advised adds what to do about an error of a connection that was not made.
func advised(err error) error {
	var name *net.DNSError
	var plain tls.RecordHeaderError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w; nothing listens there: start the server, or fix the address", err)
	case errors.As(err, &name) && name.IsNotFound:
		return fmt.Errorf("%w; fix the address, or the name server's records", err)
	case errors.As(err, &plain):
		return fmt.Errorf("%w; the server speaks no TLS on this port: leave tls out, or fix the port", err)
	}
	return err
}
