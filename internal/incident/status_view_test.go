package incident

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/turn"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// keysAs are keys with a copy on each of the nodes a, b… as written: f fresh, s12 stale for 12 s, u undecided, e error, m missing,
// v unverified, - none; then t7 for a TTL of 7 s and a9 for an age of 9 s of its last copy.
func keysAs(keys ...string) (out []KeyStatus) {
	states := map[byte]string{'f': "fresh", 's': "stale", 'u': "undecided", 'e': "error", 'm': "missing", 'v': "unverified"}
	for _, text := range keys {
		words := strings.Fields(text)
		k := KeyStatus{Key: words[0]}
		node := 'a'
		for _, w := range words[1:] {
			var n float64
			_, _ = fmt.Sscan(w[1:], &n) // there may be none
			switch last := len(k.Copies) - 1; w[0] {
			case '-':
				node++
			case 't':
				k.Copies[last].TTLSeconds = &n
			case 'a':
				k.Copies[last].AgeSeconds = &n
			default:
				c := KeyCopyStatus{Layer: "l2", Node: string(node), State: states[w[0]]}
				if w[0] == 's' {
					c.StaleSeconds = &n
				}
				k.Differs = k.Differs || w[0] == 's' || w[0] == 'u'
				k.Copies = append(k.Copies, c)
				node++
			}
		}
		out = append(out, k)
	}
	return out
}

func TestViews(t *testing.T) {
	keys := []string{"good f t9 f a3", "user:1 f s5 t2", "bad s90 s9 a7", "gone f m", "unsure u u", "broken e f", "lonely - v"}
	for query, want := range map[string]string{
		"":                    "bad user:1 unsure broken gone lonely good",
		"sort=key":            "bad broken gone good lonely unsure user:1",
		"sort=stale":          "bad user:1 good gone unsure broken lonely",
		"sort=ttl":            "user:1 good bad gone unsure broken lonely",
		"sort=age":            "bad good user:1 gone unsure broken lonely",
		"sort=node:b":         "user:1 bad unsure gone lonely good broken",
		"sort=node:nobody":    "good user:1 bad gone unsure broken lonely",
		"state=differs":       "bad user:1 unsure",
		"state=missing":       "gone",
		"state=fresh&key=O":   "broken gone good",
		"key=user":            "user:1",
		"class=c&state=stale": "bad user:1",
		"class=d":             "nothing of c",
		"reload=off&key=user": "user:1",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		v, err := viewOf(q)
		if err != nil {
			t.Errorf("%s: %v", query, err)
		}
		s := &Status{Canaries: []CanaryStatus{{Class: "c", Keys: keysAs(keys...)}}}
		v.narrow(s)
		got := "nothing of c"
		if len(s.Canaries) > 0 {
			var names []string
			for _, k := range s.Canaries[0].Keys {
				names = append(names, k.Key)
			}
			got = strings.Join(names, " ")
		}
		if got != want {
			t.Errorf("%q gives\n%s, want\n%s", query, got, want)
		}
		if again, err := url.ParseQuery(strings.TrimPrefix(v.Query(v.Sort), "?")); err != nil || again.Encode() != q.Encode() {
			t.Errorf("%q is %q in a link, %v", query, v.Query(v.Sort), err)
		}
	}
	for _, query := range []string{"state=old", "sort=node", "sort=Key"} {
		for path, serve := range map[string]func(*httptest.ResponseRecorder){
			"/status": func(w *httptest.ResponseRecorder) {
				StatusPage(&reports{}, turn.NewLine(1)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/status?"+query, nil))
			},
			"/api/v1/status": func(w *httptest.ResponseRecorder) {
				StatusJSON(&reports{}, turn.NewLine(1)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/status?"+query, nil))
			},
		} {
			w := httptest.NewRecorder()
			serve(w)
			if w.Code != 400 || !strings.Contains(w.Body.String(), "; write ") {
				t.Errorf("%s?%s: %d %s", path, query, w.Code, w.Body)
			}
		}
	}
}

// TestFirstKeys: the page has room for those of all classes that differ, then for others.
func TestFirstKeys(t *testing.T) {
	classes := func() []CanaryStatus {
		return []CanaryStatus{{Keys: keysAs("1 s1", "2 f", "3 f")}, {Keys: keysAs("4 u", "5 s1", "6 f")}}
	}
	for n, want := range map[int]string{0: "[3 3]", 2: "[2 2]", 3: "[2 1]", 4: "[1 1]", 5: "[0 1]", 6: "[0 0]", 100: "[0 0]"} {
		c := classes()
		if out := firstKeys(c, n); fmt.Sprint(out) != want || len(c[0].Keys)+len(c[1].Keys) != min(n, 6) {
			t.Errorf("room for %d: %v left out, want %s", n, out, want)
		}
	}
}

// TestMatrixRows: what a row says to a reader, and that it is no markup of others.
func TestMatrixRows(t *testing.T) {
	c := CanaryStatus{Class: "c", Layers: []LayerStatus{{Layer: "l2", Nodes: []CopiesStatus{{Node: "a"}, {Node: "b", States: map[string]int{"stale": 1}}, {Node: "c"}}}}}
	c.Keys = keysAs("user:<1>:x f t7200 s200 m", "alike f f f", "alone - v", "nowhere -", "\x1bodd e")
	c.Keys[0].Reference = new("version")
	row := &c.Keys[0]
	row.Copies[0].Digest, row.Copies[1].Digest = new("1"), new("2")
	row.Copies[0].Version, row.Copies[1].Version, row.Copies[1].Overdue, row.Copies[1].NoExpiry = new("<8>"), new("7"), new(true), new(true)
	row.Copies[0].SeenSeconds, row.Copies[1].AgeSeconds, row.Copies[1].Survivor = new(65.0), new(3e5), new(true)
	got := string(matrixRows(c))
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(strings.ReplaceAll(got, "<td", "|<td"), " ")
	text = regexp.MustCompile(` +`).ReplaceAllString(text, " ")
	for i, want := range []string{
		" user: &lt;1&gt;: x| stale on b; missing on c (by version)| stale v7 for 3m, overdue survived a delete no expiry, age 3d | fresh v&lt;8&gt; TTL 2h, age ≥65s | missing",
		" alike| copies agree| fresh| fresh| fresh", " alone| nothing to compare| unverified| –| –", " nowhere| no node holds it| –| –| –",
		` &#34;\x1bodd&#34;| error on a| –| error| –`,
	} {
		if line := strings.Split(text, "\n")[i]; line != want {
			t.Errorf("row %d says\n%s, want\n%s", i, line, want)
		}
	}
	// Without versions, and where one version has two contents, letters tell contents apart.
	row.Copies[1].Version = new("<8>")
	if got := string(matrixRows(c)); !strings.Contains(got, "stale v&lt;8&gt;, content B") || !strings.Contains(got, "fresh v&lt;8&gt;, content A") {
		t.Errorf("contents are not told apart in\n%s", got)
	}
	if seconds := []string{brief(0.9), brief(119.9), brief(120), brief(7199), brief(7200), brief(172800)}; !slices.Equal(seconds, []string{"0s", "119s", "2m", "119m", "2h", "2d"}) {
		t.Errorf("times are %q", seconds)
	}
}

func TestDrains(t *testing.T) {
	for name, tt := range map[string]struct {
		queue QueueStatus
		want  string
	}{
		"empty":          {QueueStatus{Depth: new(0.0), DrainSeconds: new(0.0), NeverDrains: new(false)}, "empty"},
		"soon":           {QueueStatus{Depth: new(10.0), DrainSeconds: new(90.0), NeverDrains: new(false)}, "90 s"},
		"never":          {QueueStatus{Depth: new(100.0), NeverDrains: new(true)}, "never"},
		"a few":          {QueueStatus{Depth: new(99.0), NeverDrains: new(true)}, "comes and goes"},
		"no rate":        {QueueStatus{Depth: new(100.0)}, "?, no rate yet"},
		"nothing at all": {QueueStatus{}, "?, no depth"},
	} {
		if got := drains(tt.queue); got != tt.want || neverDrains(tt.queue) != (tt.want == "never") {
			t.Errorf("%s: it drains in %s", name, got)
		}
	}
}

// TestPolicy: the browser is told to run the page's own script and style, and nothing else.
func TestPolicy(t *testing.T) {
	w := httptest.NewRecorder()
	StatusPage(&reports{all: []*diagnosis.Report{addKeys(estateReport(3, 1), 20)}}, turn.NewLine(1)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	policy, page := w.Header().Get("Content-Security-Policy"), w.Body.String()
	for _, element := range []string{"style", "script"} {
		found := regexp.MustCompile("(?s)<"+element+">(.*?)</"+element+">").FindAllStringSubmatch(page, -1)
		if len(found) != 1 || !strings.Contains(policy, element+"-src '"+sourceHash(found[0][1])+"'") {
			t.Errorf("%d of %s, and the policy is %s", len(found), element, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || regexp.MustCompile(`(?i)<[^>]*(\sstyle=|\son[a-z]+=|\ssrc=)`).MatchString(page) {
		t.Errorf("inline styles or handlers, or something from elsewhere; the policy is %s", policy)
	}
}

// TestStatesHaveLetters: each state has a class of its own in the matrix, and a place in the order.
func TestStatesHaveLetters(t *testing.T) {
	seen := map[string]bool{}
	for s := range verdict.NumStates {
		state := s.String()
		if !slices.Contains(stateOrder, state) {
			t.Errorf("%s has no place in the order", state)
		}
		w := &matrix{}
		w.cell(&KeyCopyStatus{State: state})
		class := regexp.MustCompile(`class=(\w)`).FindStringSubmatch(w.String())[1]
		if seen[class] || !strings.Contains(statusJS, state+`: "`+class+`"`) || !strings.Contains(statusCSS, ".matrix ."+class) && !strings.Contains(statusCSS, ",.matrix ."+class) {
			t.Errorf("%s has the class %s, which another has, or the script or the style does not know", state, class)
		}
		seen[class] = true
	}
}
