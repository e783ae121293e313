package servers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// AlertmanagerServer is a running Alertmanager.
type AlertmanagerServer struct {
	*Process
	// URL of its web page and API, without a slash at the end.
	URL string

	// client of its own, so that its connections end with the test.
	client *http.Client
}

// Alert as Prometheus posts it, and as Alertmanager tells it.
type Alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	StartsAt     time.Time         `json:"startsAt,omitzero"`
	EndsAt       time.Time         `json:"endsAt,omitzero"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// KnownAlert is an alert with what Alertmanager does with it.
type KnownAlert struct {
	Alert
	Fingerprint string `json:"fingerprint"`
	Status      struct {
		State       string   `json:"state"` // active, suppressed or unprocessed
		InhibitedBy []string `json:"inhibitedBy"`
	} `json:"status"`
	Receivers []struct {
		Name string `json:"name"`
	} `json:"receivers"`
}

// Alertmanager starts an Alertmanager, without a cluster, with a configuration file.
func Alertmanager(t testing.TB, configFile string) *AlertmanagerServer {
	t.Helper()
	addr := FreeAddr(t)
	a := &AlertmanagerServer{URL: "http://" + addr, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(a.client.CloseIdleConnections)
	ready := func() bool {
		_, err := a.ask(t, http.MethodGet, "/-/ready", nil)
		return err == nil
	}
	a.Process = start(t, addr, ready, "prometheus-alertmanager", "--config.file="+configFile, "--storage.path="+t.TempDir(),
		"--web.listen-address="+addr, "--cluster.listen-address=")
	return a
}

// ask gives the body of an answer of 200.
func (a *AlertmanagerServer) ask(t testing.TB, method, path string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return answer, err
}

// Post alerts, as Prometheus does. One without an end fires until it is posted with one.
func (a *AlertmanagerServer) Post(t testing.TB, alerts ...Alert) {
	t.Helper()
	body, err := json.Marshal(alerts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.ask(t, http.MethodPost, "/api/v2/alerts", bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
}

// Alerts that fire, muted ones included.
func (a *AlertmanagerServer) Alerts(t testing.TB) []KnownAlert {
	t.Helper()
	answer, err := a.ask(t, http.MethodGet, "/api/v2/alerts", nil)
	if err != nil {
		t.Fatal(err)
	}
	var alerts []KnownAlert
	if err := json.Unmarshal(answer, &alerts); err != nil {
		t.Fatal(err)
	}
	return alerts
}

// Notification is what Alertmanager sent to a receiver.
type Notification struct {
	// Receiver is the path that it was sent to, without the slash.
	Receiver string
	// GroupKey names the group: equal for all that is sent about one incident.
	GroupKey string
	// Status is firing or resolved.
	Status string
	// Alerts of the group, those that are over since the last notification included.
	Alerts []NotifiedAlert
	// Body as it was sent.
	Body string
	// At is when it arrived.
	At time.Time
}

// NotifiedAlert is an alert in a notification; Status is firing or resolved.
type NotifiedAlert struct {
	Alert
	Status string `json:"status"`
}

// Firing tells whether an alert of that name fires in the notification.
func (n Notification) Firing(alertname string) bool {
	for _, a := range n.Alerts {
		if a.Labels["alertname"] == alertname && a.Status == "firing" {
			return true
		}
	}
	return false
}

// Receivers is a web server that takes what Alertmanager sends, and keeps it.
type Receivers struct {
	// URL to which a receiver's name is added, with a slash.
	URL string

	mu       sync.Mutex
	received []Notification
}

// AlertReceivers starts a web server for what Alertmanager sends.
func AlertReceivers(t testing.TB) *Receivers {
	t.Helper()
	r := &Receivers{}
	s := httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(s.Close)
	r.URL = s.URL
	return r
}

func (r *Receivers) take(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	n := Notification{Receiver: strings.TrimPrefix(request.URL.Path, "/"), Body: string(body), At: time.Now()}
	var webhook struct {
		GroupKey, Status string
		Alerts           []NotifiedAlert
	}
	if json.Unmarshal(body, &webhook) == nil { // other kinds of receivers have other bodies
		n.GroupKey, n.Status, n.Alerts = webhook.GroupKey, webhook.Status, webhook.Alerts
	}
	r.mu.Lock()
	r.received = append(r.received, n)
	r.mu.Unlock()
}

// Received notifications of a receiver, the oldest first; of all, where it is empty.
func (r *Receivers) Received(receiver string) []Notification {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Notification
	for _, n := range r.received {
		if receiver == "" || n.Receiver == receiver {
			all = append(all, n)
		}
	}
	return all
}
