package servertest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Webhook takes what an Alertmanager sends, as its receivers do.
type Webhook struct {
	// URL to send to, with the receiver's name below it.
	URL string

	mu  sync.Mutex
	got []Notification
}

// Notification of a group of alerts.
type Notification struct {
	// At is when it came, and Receiver for whom.
	At       time.Time
	Receiver string `json:"-"`
	// GroupKey is the same for all notifications of a group.
	GroupKey    string            `json:"groupKey"`
	GroupLabels map[string]string `json:"groupLabels"`
	// Status is firing while any alert of the group is, else resolved.
	Status string `json:"status"`
	Alerts []struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    time.Time         `json:"startsAt"`
	} `json:"alerts"`
}

// NewWebhook that keeps all that comes.
func NewWebhook(t testing.TB) *Webhook {
	t.Helper()
	w := &Webhook{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n := Notification{At: time.Now(), Receiver: strings.TrimPrefix(r.URL.Path, "/")}
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Errorf("a notification for %s: %v", n.Receiver, err)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.got = append(w.got, n)
	}))
	t.Cleanup(server.Close)
	w.URL = server.URL
	return w
}

// Notifications so far, in the order in which they came.
func (w *Webhook) Notifications() []Notification {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Notification(nil), w.got...)
}
