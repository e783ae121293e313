package group

import (
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

func TestCertifiedBy(t *testing.T) {
	name := config.DNSName{Host: "app.test", Port: "443"}
	if got := TLSFor(&config.TLS{}, name); got.ServerName != "app.test" {
		t.Errorf("asked to prove %q", got.ServerName)
	}
	if got := TLSFor(&config.TLS{ServerName: "x"}, name); got.ServerName != "x" {
		t.Errorf("asked to prove %q", got.ServerName)
	}
	if got := TLSFor(&config.TLS{}, config.DNSName{Host: "_a._tcp.test", SRV: true}); got.ServerName != "" {
		t.Errorf("asked to prove %q", got.ServerName)
	}
	if TLSFor(nil, name) != nil {
		t.Error("TLS is on")
	}
}
