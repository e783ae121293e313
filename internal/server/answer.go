package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// headerTime is how long a client may take for its request's header, bodyTime for a body, which nothing here needs, and readTime to
	// read an answer.
	headerTime = 10 * time.Second
	bodyTime   = 5 * time.Second
	readTime   = 30 * time.Second
	// idleTime is how long a connection is kept for the next request: longer than between two scrapes.
	idleTime = 2 * time.Minute
	// mostHeader bytes of a request.
	mostHeader = 64 << 10
)

// answer is held until it is whole, so that making it does not wait for a client that reads slowly.
type answer struct {
	http.ResponseWriter
	bodies *bodies
	body   body
	status int
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.bodies.write(&a.body, b)
	return len(b), nil
}

// send the answer to a client, which has readTime to read it.
func (a *answer) send() error {
	client := http.NewResponseController(a.ResponseWriter)
	if err := client.SetWriteDeadline(time.Now().Add(readTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	a.bodies.begin(&a.body, func() { _ = client.SetWriteDeadline(time.Unix(1, 0)) }) // long ago
	a.Header().Set("Content-Length", strconv.Itoa(a.body.length))
	a.WriteHeader(http.StatusOK)
	a.ResponseWriter.WriteHeader(a.status)
	for len(a.body.blocks) > 0 {
		if _, err := a.ResponseWriter.Write(a.body.blocks[0]); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
			return err
		}
		a.bodies.sent(&a.body)
	}
	if err := client.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// held answers requests with what next writes once that is whole. A client that goes away, or does not read, is told at debug.
func (s *Server) held(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 { // what is not read of it is waited for otherwise
			w.Header().Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // HTTP/2 has its own ways
		}
		a := &answer{ResponseWriter: w, bodies: s.bodies}
		defer s.bodies.end(&a.body)
		s.fill(a, r, next)
		switch err := a.send(); {
		case s.bodies.end(&a.body):
			s.log.Debug("a client that took nothing for the longest time was cut off, to make room for other answers", "client", r.RemoteAddr, "path", r.URL.Path)
		case err != nil:
			s.log.Debug("a client hung up before it had its answer", "client", r.RemoteAddr, "path", r.URL.Path, "err", err)
		}
	})
}

// fill an answer, for which the client's connection is kept.
func (s *Server) fill(a *answer, r *http.Request, next http.Handler) {
	defer s.connections.answering(r.Context())()
	next.ServeHTTP(a, r)
}

// limited answers at most MaxRequests at once, and refuses what is more.
func (s *Server) limited(next http.Handler) http.Handler {
	if s.opt.MaxRequests <= 0 {
		return next
	}
	slots := make(chan struct{}, s.opt.MaxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, fmt.Sprintf("%d requests are being answered, and no more at once; try again later, or raise --web.max-requests", s.opt.MaxRequests),
				http.StatusServiceUnavailable)
		}
	})
}
