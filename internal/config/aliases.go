package config

import "github.com/cacheinv/cacheinv_exporter/internal/form"

// The types of form, under the names that they have in this package's types.
type (
	// Credentials are form's.
	Credentials = form.Credentials
	// DNSName is form's.
	DNSName = form.DNSName
	// Faults are form's.
	Faults = form.Faults
	// HTTPClient is form's.
	HTTPClient = form.HTTPClient
	// NameMatch is form's.
	NameMatch = form.NameMatch
	// Secret is form's.
	Secret = form.Secret
	// Template is form's.
	Template = form.Template
	// TLS is form's.
	TLS = form.TLS
)

// ParseTemplate is form's.
func ParseTemplate(text string) (Template, error) { return form.ParseTemplate(text) }
