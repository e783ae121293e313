// Command draw shows what the dashboards show, without Grafana: it runs the demo's scenarios under Prometheus with the rules of this
// repository for a few minutes, asks each panel's queries and draws the answers as a page and a picture. Of some scenarios it also
// takes a picture of the exporter's /status. Prometheus and Chromium have to be installed. The pictures are close to Grafana's, not the same.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cacheinv/cacheinv_exporter/alerts"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/grafana"
)

func main() {
	scenarios := flag.String("scenarios", "healthy,queue-backlog,partition,invalidation-loop,version-drift", "scenarios of the demo")
	boards := flag.String("dashboards", "overview", "dashboards to draw: names of files in dashboards/, without .json")
	wait := flag.Duration("for", 5*time.Minute, "how long each scenario runs; alerts need some minutes")
	out := flag.String("out", "docs/pictures", "folder for the pictures")
	status := flag.String("status", "partition,queue-backlog", "scenarios of which /status is drawn: the first as status.png, others as status-SCENARIO.png; empty: none")
	pages := flag.Bool("pages", false, "keep the HTML pages, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := draw(ctx, strings.Split(*scenarios, ","), strings.Split(*boards, ","), strings.Split(*status, ","), *wait, *out, *pages); err != nil {
		slog.Error("draw", "err", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func draw(ctx context.Context, scenarios, boards, statuses []string, wait time.Duration, out string, pages bool) error {
	dir, err := os.MkdirTemp("", "draw")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder of temporary files
	if err := os.MkdirAll(out, 0o750); err != nil {
		return err
	}
	exporter := filepath.Join(dir, "exporter")
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", exporter, ".").CombinedOutput(); err != nil { //nolint:gosec // a folder of our own
		return fmt.Errorf("go build: %w\n%s", err, text)
	}
	if err := writeRules(dir); err != nil {
		return err
	}
	// Ask all, then draw: Chromium would take the time that the exporters need.
	drawn := make([][]drawing, len(scenarios))
	group, asking := errgroup.WithContext(ctx)
	for i, scenario := range scenarios {
		group.Go(func() error {
			p, err := start(asking, dir, exporter, scenario, wait)
			if err != nil {
				return fmt.Errorf("%s: %w", scenario, err)
			}
			defer p.stop()
			if i := slices.Index(statuses, scenario); i >= 0 {
				name := "status.png"
				if i > 0 {
					name = "status-" + scenario + ".png"
				}
				if err := photograph(asking, p.exporter+"/status", filepath.Join(out, name), statusHeight); err != nil {
					return err
				}
			}
			for _, board := range boards {
				name := scenario
				if len(boards) > 1 {
					name += "-" + board
				}
				d, err := p.ask(asking, filepath.Join("dashboards", board+".json"))
				if err != nil {
					return fmt.Errorf("%s: %s: %w", scenario, board, err)
				}
				d.name = filepath.Join(out, name)
				drawn[i] = append(drawn[i], d)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, d := range slices.Concat(drawn...) {
		if err := d.write(ctx, pages); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

func writeRules(dir string) error {
	names, err := fs.Glob(alerts.Files, "*.yml")
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := fs.ReadFile(alerts.Files, name)
		if err != nil {
			return err
		}
		if strings.Contains("\n"+string(data), "\ngroups:") {
			if err := os.WriteFile(filepath.Join(dir, "rules-"+name), data, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// play is one scenario under a Prometheus of its own.
type play struct {
	// Base URLs.
	prometheus, exporter string
	began                time.Time
	processes            []*exec.Cmd
}

// start runs a scenario and its Prometheus, and comes back after the time to wait.
func start(ctx context.Context, dir, exporter, scenario string, wait time.Duration) (*play, error) {
	p := &play{}
	target, err := freeAddress()
	if err != nil {
		return nil, err
	}
	own, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p.prometheus, p.exporter = "http://"+own, "http://"+target
	config := filepath.Join(dir, scenario+".yml")
	text := fmt.Sprintf("global: {scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 5s}\nrule_files: [%q]\nscrape_configs: [{job_name: cacheinv_exporter, static_configs: [{targets: [%q]}]}]\n",
		filepath.Join(dir, "rules-*.yml"), target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{exporter, "demo", "--scenario=" + scenario, "--web.listen-address=" + target, "--log.level=error"},
		{"prometheus", "--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, scenario), "--web.listen-address=" + own, "--log.level=error"},
	} {
		c := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the two programs above
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			p.stop()
			return nil, err
		}
		p.processes = append(p.processes, c)
	}
	p.began = time.Now()
	slog.Info("running", "scenario", scenario, "exporter", p.exporter, "prometheus", p.prometheus)
	select {
	case <-ctx.Done():
		p.stop()
		return nil, ctx.Err()
	case <-time.After(wait):
		return p, nil
	}
}

func (p *play) stop() {
	for _, c := range p.processes {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close() //nolint:errcheck // it was only asked for a port
	return l.Addr().String(), nil
}

// drawing of one dashboard: a page, and its height in pixels.
type drawing struct {
	name, text string // name is a path without an ending
	height     int
}

// ask draws a dashboard's page from what Prometheus answers now.
func (p *play) ask(ctx context.Context, dashboard string) (drawing, error) {
	data, err := os.ReadFile(dashboard)
	if err != nil {
		return drawing{}, err
	}
	d, err := grafana.Parse(data)
	if err != nil {
		return drawing{}, err
	}
	now := time.Now()
	s := source{url: p.prometheus, from: p.began, to: now, step: max(5*time.Second, now.Sub(p.began)/150).Round(time.Second)}
	text, height, err := page(ctx, d, s)
	return drawing{text: text, height: height}, err
}

// write the drawing as NAME.png, and as NAME.html if the page is kept.
func (d drawing) write(ctx context.Context, keep bool) error {
	html, picture := d.name+".html", d.name+".png"
	if err := os.WriteFile(html, []byte(d.text), 0o600); err != nil {
		return err
	}
	if !keep {
		defer os.Remove(html) //nolint:errcheck // it was made a moment ago
	}
	full, err := filepath.Abs(html)
	if err != nil {
		return err
	}
	return photograph(ctx, "file://"+full, picture, d.height)
}

// statusHeight is how much of /status is shown, in pixels.
const statusHeight = 1250

// photograph a page as PNG, of this height in pixels.
func photograph(ctx context.Context, url, picture string, height int) error {
	profile, err := os.MkdirTemp("", "draw-chromium")
	if err != nil {
		return err
	}
	defer os.RemoveAll(profile) //nolint:errcheck // a folder of temporary files
	//nolint:gosec // arguments of our own
	chromium := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+profile, "--hide-scrollbars",
		fmt.Sprintf("--window-size=%d,%d", pageWidth, height), "--screenshot="+picture, url)
	if out, err := chromium.CombinedOutput(); err != nil {
		return fmt.Errorf("chromium: %w\n%s", err, out)
	}
	return reduce(picture)
}
