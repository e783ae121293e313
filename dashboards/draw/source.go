package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// source of data: a Prometheus and the time that is shown.
type source struct {
	url      string
	from, to time.Time
	step     time.Duration
}

// line is one series. Values are NaN-free: a time without one is left out.
type line struct {
	labels map[string]string
	points []point
}

type point struct{ at, value float64 } // seconds since the epoch

func (l line) last() float64 { return l.points[len(l.points)-1].value }

func (l line) most() float64 {
	return slices.MaxFunc(l.points, func(a, b point) int { return cmp.Compare(a.value, b.value) }).value
}

// ask gives the series of a query, at the end or over the time that is shown.
func (s source) ask(ctx context.Context, expr string, instant bool) ([]line, error) {
	values := url.Values{"query": {expr}}
	path := "/api/v1/query"
	if instant {
		values.Set("time", stamp(s.to))
	} else {
		path = "/api/v1/query_range"
		values.Set("start", stamp(s.from))
		values.Set("end", stamp(s.to))
		values.Set("step", s.step.String())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path+"?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Value  *sample           `json:"value"`
				Values []sample          `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	var lines []line
	for _, r := range answer.Data.Result {
		l := line{labels: r.Metric}
		if r.Value != nil {
			r.Values = append(r.Values, *r.Value)
		}
		for _, v := range r.Values {
			if p := point(v); p.value == p.value { // not NaN
				l.points = append(l.points, p)
			}
		}
		if len(l.points) > 0 {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

func stamp(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// sample as Prometheus writes it: [time, "value"].
type sample point

// UnmarshalJSON reads the pair.
func (s *sample) UnmarshalJSON(data []byte) error {
	var pair [2]any
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	at, ok := pair[0].(float64)
	text, isText := pair[1].(string)
	if !ok || !isText {
		return fmt.Errorf("%s is no sample", data)
	}
	value, err := strconv.ParseFloat(text, 64)
	*s = sample{at, value}
	return err
}
