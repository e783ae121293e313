package group

import (
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

func TestCertifiedBy(t *testing.T) {
	name := form.DNSName{Host: "app.test", Port: "443"}
	if got := TLSFor(&form.TLS{}, name); got.ServerName != "app.test" {
		t.Errorf("asked to prove %q", got.ServerName)
	}
	if got := TLSFor(&form.TLS{ServerName: "x"}, name); got.ServerName != "x" {
		t.Errorf("asked to prove %q", got.ServerName)
	}
	if got := TLSFor(&form.TLS{}, form.DNSName{Host: "_a._tcp.test", SRV: true}); got.ServerName != "" {
		t.Errorf("asked to prove %q", got.ServerName)
	}
	if TLSFor(nil, name) != nil {
		t.Error("TLS is on")
	}
}
