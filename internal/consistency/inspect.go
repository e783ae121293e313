package consistency

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Seen is what a copy was seen to hold. Two that are equal are the same content of the same version, made at the same time where
// copies say so.
type Seen struct {
	Present bool
	Digest  content.Digest
	Version content.Version
	// cachedAt in unix nanoseconds; 0: none.
	cachedAt int64
}

// Seen is what the report's copy was seen to hold.
func (c CopyReport) Seen() Seen {
	if !c.Present {
		return Seen{}
	}
	return Seen{Present: true, Digest: c.Digest, Version: c.Version, cachedAt: c.cachedAt}
}

// Truth is what an origin said of a key.
type Truth struct {
	Deleted bool
	Seen    Seen
	// Body that the origin's decode and select leave.
	Body []byte
}

// Inspect reads a copy of a class in a layer that was got otherwise than by a sampling, as a sampling would. It may be called by
// several goroutines at once.
func (s *Sampler) Inspect(class, layer string, raw probes.Raw) (Seen, error) {
	c, err := s.class(class)
	if err != nil {
		return Seen{}, err
	}
	own, ok := c.layerOf[layer]
	if !ok {
		return Seen{}, fmt.Errorf("the class %q is not in the layer %q", class, layer)
	}
	got := c.digest(c.perLayer[own].reader, raw, time.Now())
	if err := got.why(); err != nil {
		return Seen{}, err
	}
	return Seen{Present: got.Presence == verdict.Present, Digest: got.Content, Version: got.Version, cachedAt: got.cachedAt}, nil
}

// AskOrigin of a class for the truth of a key. It may be called by several goroutines at once.
func (s *Sampler) AskOrigin(ctx context.Context, class, key string) (Truth, error) {
	c, err := s.class(class)
	if err != nil {
		return Truth{}, err
	}
	if c.origin == nil {
		return Truth{}, fmt.Errorf("the class %q has no origin", class)
	}
	var out Truth
	failed := c.origin.Ask(ctx, c.vars(key), func(got probes.OriginAnswer) {
		if out.Deleted = got.Deleted; !out.Deleted {
			out, err = c.truth(got.Body)
		}
	})
	return out, errors.Join(failed, err)
}

func (c *class) truth(body []byte) (Truth, error) {
	got, err := c.reader.Value(body)
	if errors.Is(err, content.ErrAbsent) {
		return Truth{Deleted: true}, nil
	}
	if err != nil {
		return Truth{}, err
	}
	left, err := c.reader.Left(body)
	if err != nil {
		return Truth{}, err
	}
	version, _ := c.trust(got.Version, time.Now())
	return Truth{Seen: Seen{Present: true, Digest: got.Digest, Version: version}, Body: left}, nil
}

// class of a name.
func (s *Sampler) class(name string) (*class, error) {
	for _, c := range s.classes {
		if c.Name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("there is no class %q", name)
}
