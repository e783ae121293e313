package probes

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestSecretsTell(t *testing.T) {
	const user, password = "exporter", `pass "word" 100% 🔑`
	var s Secrets
	s.Add(user, password)
	basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	for said, want := range map[string]string{
		"ERR unknown command 'AUTH exporter " + password + "'":           "ERR",
		"ERR unknown command, with args beginning with: " + password[:8]: "ERR",
		"ERR redis://exporter:" + url.QueryEscape(password) + "@host":    "ERR",
		"ERR /x?password=" + url.PathEscape(password):                    "ERR",
		fmt.Sprintf("ERR unknown %q", "AUTH exporter "+password):         "ERR",
		fmt.Sprintf("ERR unknown %+q", password):                         "ERR",
		"401 Authorization: Basic " + basic:                              "401",
		"SASL PLAIN " + plain:                                            "SASL",
		"ERR " + base64.StdEncoding.EncodeToString([]byte(password)):     "ERR",
		password + " is wrong":                                           "pass",
		strings.ReplaceAll(password, " ", "") + "":                       "(it repeats a secret)",
		"ERR max number of clients reached":                              "ERR max number of clients reached",
		"ERR " + strings.Repeat("x", 300):                                "ERR " + strings.Repeat("x", 196),
		"ERR bad \xff byte":                                              "ERR bad  byte",
		"WRONGPASS invalid username-password pair or user is disabled.":  "WRONGPASS invalid username-password pair or user is disabled.",
	} {
		if got := s.Tell(said); got != want {
			t.Errorf("%q is told as %q, want %q", said, got, want)
		}
	}
	var none *Secrets
	if got := none.Tell("ERR " + password); !strings.Contains(got, "word") {
		t.Errorf("nothing was given, and %q is told", got)
	}
}

// A file may bring another password while answers to the one before still come.
func TestSecretsKeepsEarlier(t *testing.T) {
	var s Secrets
	for i := range 20 {
		s.Add("u", fmt.Sprintf("password-%d-of-many", i/7))
	}
	for i := range 3 {
		if got := s.Tell(fmt.Sprintf("ERR AUTH password-%d-of-many", i)); got != "ERR" {
			t.Errorf("password %d: %q", i, got)
		}
	}
}

// What is given together is kept together, however much it is.
func TestSecretsTogether(t *testing.T) {
	var s Secrets
	s.AddAll("", "")
	for i := range 3 {
		s.AddAll(fmt.Sprintf("key-%d-of-many", i), "", fmt.Sprintf("token-%d-of-many", i), fmt.Sprintf("name-%d-of-many", i), "and-another")
	}
	for i := range 3 {
		for _, kind := range []string{"key", "token", "name"} {
			if got := s.Tell(fmt.Sprintf("ERR no %s-%d-of-many", kind, i)); got != "ERR" {
				t.Errorf("%s %d: %q", kind, i, got)
			}
		}
	}
	if got := s.Tell("ERR nothing of it"); got != "ERR nothing of it" {
		t.Error(got)
	}
}

// The letters of a short password are in many texts: it counts as a word alone.
func TestSecretsShort(t *testing.T) {
	var s Secrets
	s.Add("", "x")
	for said, want := range map[string]string{
		"ERR max number of clients":         "ERR max number of clients",
		"ERR args beginning with: 'x' 'y'":  "ERR",
		"ERR x":                             "ERR",
		"x":                                 "(it repeats a secret)",
		"ERR xx x1 éx: no word of it alone": "ERR xx x1 éx: no word of it alone",
	} {
		if got := s.Tell(said); got != want {
			t.Errorf("%q is told as %q, want %q", said, got, want)
		}
	}
}
