package docs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/demo"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// installed reads a YAML file of docs/install or beside it; the last document, where it has several.
func installed[T any](t *testing.T, path string) (into T) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &into); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", path, err))
	}
	return into
}

// installTool runs a program that must be content.
func installTool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// exporterFlags are the names of all flags of all commands, with their dashes.
var exporterFlags = sync.OnceValues(func() (map[string]bool, error) {
	folder, err := os.MkdirTemp("", "cacheinv")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	binary := filepath.Join(folder, "cacheinv_exporter")
	if out, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	help, err := exec.Command(binary, "--help-long").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, help)
	}
	flags := map[string]bool{}
	for _, m := range regexp.MustCompile(`--(\[no-\])?([a-z][a-z.-]+)`).FindAllSubmatch(help, -1) {
		flags["--"+string(m[2])] = true
	}
	return flags, nil
})

var installFlag = regexp.MustCompile(`--[a-z][a-z.-]*[a-z]`)

// knowFlags checks the flags of command lines of the exporter.
func knowFlags(t *testing.T, where string, lines ...string) {
	t.Helper()
	flags, err := exporterFlags()
	if err != nil {
		t.Fatal(err)
	}
	if !flags["--config.file"] || !flags["--scenario"] {
		t.Fatalf("flags of --help-long are not understood: %v", flags)
	}
	for _, line := range lines {
		for _, flag := range installFlag.FindAllString(line, -1) {
			if !flags[flag] {
				t.Errorf("%s: cacheinv_exporter has no flag %s: %s", where, flag, line)
			}
		}
	}
}

// ruleFiles are those of alerts/.
func ruleFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../alerts/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		if _, ok := installed[map[string]any](t, path)["groups"]; ok {
			names = append(names, filepath.Base(path))
		}
	}
	if len(names) < 6 {
		t.Fatalf("only the rule files %v", names)
	}
	return names
}

func TestInstallYAML(t *testing.T) {
	parsed := 0
	err := filepath.WalkDir("install", func(path string, entry fs.DirEntry, err error) error {
		if ext := filepath.Ext(path); err != nil || entry.IsDir() || ext != ".yml" && ext != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
			var document map[string]any
			if err := d.Decode(&document); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil || len(document) == 0 {
				t.Errorf("%s: %v, %v", path, err, document)
				return nil
			}
			parsed++
		}
	})
	if err != nil || parsed < 10 {
		t.Errorf("%d documents: %v", parsed, err)
	}
}

type prometheusConfig struct {
	Global struct {
		ExternalLabels map[string]string `yaml:"external_labels"`
	}
	RuleFiles     []string `yaml:"rule_files"`
	ScrapeConfigs []struct {
		JobName       string `yaml:"job_name"`
		ScrapeTimeout string `yaml:"scrape_timeout"`
		HonorLabels   bool   `yaml:"honor_labels"`
	} `yaml:"scrape_configs"`
	Alerting struct{ Alertmanagers []any }
}

// Every rule file is loaded, and found where Prometheus looks for it; the job has the name that the rules know.
func TestInstallPrometheus(t *testing.T) {
	inContainer := t.TempDir()
	text, err := os.ReadFile("install/compose/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := filepath.Abs("../alerts")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(alerts, filepath.Join(inContainer, "alerts")),
		os.WriteFile(filepath.Join(inContainer, "prometheus.yml"), text, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"install/prometheus/prometheus.yml", filepath.Join(inContainer, "prometheus.yml")} {
		installTool(t, "promtool", "check", "config", path)
		c := installed[prometheusConfig](t, path)
		var names []string
		for _, file := range c.RuleFiles {
			names = append(names, filepath.Base(file))
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), file)); err != nil {
				t.Error(err)
			}
		}
		slices.Sort(names)
		if want := ruleFiles(t); !slices.Equal(names, want) {
			t.Errorf("%s loads the rules %v, want %v", path, names, want)
		}
		if len(c.ScrapeConfigs) != 1 || c.ScrapeConfigs[0].JobName != "cacheinv_exporter" || c.ScrapeConfigs[0].ScrapeTimeout != "10s" || !c.ScrapeConfigs[0].HonorLabels {
			t.Errorf("%s scrapes %v", path, c.ScrapeConfigs)
		}
		if c.Global.ExternalLabels["cluster"] == "" || len(c.Alerting.Alertmanagers) != 1 {
			t.Errorf("%s has the external labels %v and Alertmanagers %v", path, c.Global.ExternalLabels, c.Alerting.Alertmanagers)
		}
	}
}

// The page lists each setting of the bundle as --list-settings does.
func TestInstallSettings(t *testing.T) {
	text, err := os.ReadFile("install.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		if regexp.MustCompile("^\\| `[a-z]+(_[a-z]+)*` \\| `[^`]+` \\|").MatchString(line) {
			rows++
		}
	}
	for _, s := range settings.All {
		if row := fmt.Sprintf("| `%s` | `%s` | %s |\n", s.Name, s.Default, s.About); !strings.Contains(string(text), row) {
			t.Errorf("install.md has no row %s", row)
		}
	}
	if rows != len(settings.All) {
		t.Errorf("install.md has %d settings, want %d", rows, len(settings.All))
	}
}

// A target that has a label `node` of its own, as service discovery gives it, hides no node: with the scrape configuration that we ship
// the dead ones are told by their names.
func TestInstallKeepsLabels(t *testing.T) {
	servers.NoLeaks(t)
	text, err := os.ReadFile("install/prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "cacheinv.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: redis-1, redis: {address: %q}}
      - {name: redis-2, redis: {address: %q}}
      - {name: redis-3, redis: {address: %q}}
canaries: [{class: user, keys: ["user:1"], layers: [l2]}]
`, servers.Redis(t).Addr, servers.FreeAddr(t), servers.FreeAddr(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	exporter := servers.Exporter(t, servers.Build(t), servers.FreeAddr(t), "--config.file="+config)
	alerts, err := filepath.Abs("../alerts")
	if err != nil {
		t.Fatal(err)
	}
	prometheus := servers.Prometheus(t, map[string]string{"prometheus.yml": strings.NewReplacer(
		`targets: ["localhost:10120"]`, fmt.Sprintf("labels: {node: kube-7, queue: kube-queue}\n        targets: [%q]", exporter.Addr),
		"scrape_timeout: 10s", "scrape_timeout: 1s", "_interval: 15s", "_interval: 1s", "../../../alerts", alerts,
	).Replace(string(text))})
	names := func(query string) string {
		var found []string
		for _, sample := range prometheus.Query(t, query) {
			found = append(found, string(sample.Metric["node"]))
		}
		slices.Sort(found)
		return strings.Join(found, " ")
	}
	servers.Eventually(t, "the dead nodes have their names", func() bool {
		return names("cacheinv_node_up == 0") == "redis-2 redis-3" && names("cacheinv_node_up == 1") == "redis-1"
	})
	servers.Eventually(t, "alerts name the dead nodes", func() bool {
		return names(`count by (node) (ALERTS{node=~"redis.*"})`) == "redis-2 redis-3"
	})
	if found := prometheus.Query(t, `{exported_node!=""}`); len(found) > 0 {
		t.Errorf("labels are renamed: %v", found)
	}
}

type alertmanagerConfig struct {
	Route        any
	InhibitRules []any `yaml:"inhibit_rules"`
	Receivers    []map[string]any
	Templates    []string
}

// The trial's Alertmanager routes and mutes as the real one, and sends nothing.
func TestInstallAlertmanager(t *testing.T) {
	const path = "install/prometheus/alertmanager.yml"
	installTool(t, "amtool", "check-config", path)
	trial, whole := installed[alertmanagerConfig](t, path), installed[alertmanagerConfig](t, "../alerts/alertmanager.yml")
	if !reflect.DeepEqual(trial.Route, whole.Route) || !reflect.DeepEqual(trial.InhibitRules, whole.InhibitRules) || len(whole.InhibitRules) == 0 {
		t.Errorf("%s has other routes or inhibition than alerts/alertmanager.yml", path)
	}
	if len(trial.Receivers) != len(whole.Receivers) {
		t.Errorf("receivers %v, want those of %v", trial.Receivers, whole.Receivers)
	}
	for i, r := range trial.Receivers {
		if len(r) != 1 || r["name"] != whole.Receivers[i]["name"] {
			t.Errorf("receiver %v", r)
		}
	}
	for _, name := range trial.Templates {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), name)); err != nil {
			t.Error(err)
		}
	}
}

type composeConfig struct {
	Services map[string]struct {
		Build       string
		Image       string
		Command     []string
		Ports       []string
		Volumes     []string
		Environment map[string]string
		Healthcheck map[string]any
		DependsOn   map[string]any `yaml:"depends_on"`
	}
	Volumes map[string]any
}

// What the containers are told to read is mounted there, from files of the repository.
func TestInstallCompose(t *testing.T) {
	const folder = "install/compose"
	c := installed[composeConfig](t, folder+"/compose.yaml")
	for name, s := range c.Services {
		targets := map[string]string{}
		for _, v := range s.Volumes {
			parts := strings.Split(v, ":")
			targets[parts[1]] = filepath.Join(folder, parts[0])
			if _, volume := c.Volumes[parts[0]]; volume {
				continue
			}
			if _, err := os.Stat(filepath.Join(folder, parts[0])); err != nil || len(parts) != 3 || parts[2] != "ro" {
				t.Errorf("%s mounts %s: %v", name, v, err)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s listens for everybody: %s", name, p)
			}
		}
		if s.Build == "" && !regexp.MustCompile(`^[a-z]+/[a-z]+:v?\d+\.\d+\.\d+$`).MatchString(s.Image) {
			t.Errorf("%s takes the image %s, which is no fixed version", name, s.Image)
		}
		if s.Healthcheck == nil && s.Build == "" {
			t.Errorf("%s has no healthcheck", name)
		}
		for other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s waits for %s, which is none of the services", name, other)
			}
		}
		// The file that a flag or a variable names is below what is mounted.
		named := slices.Clone(s.Command)
		for _, value := range s.Environment {
			named = append(named, value)
		}
		for _, arg := range named {
			if _, value, ok := strings.Cut("="+arg[strings.Index(arg, "=")+1:], "="); ok && strings.Contains(value, ".") && strings.HasPrefix(value, "/") {
				if !slices.ContainsFunc(keys(targets), func(target string) bool {
					if value != target && !strings.HasPrefix(value, target+"/") {
						return false
					}
					_, err := os.Stat(targets[target] + strings.TrimPrefix(value, target))
					return err == nil
				}) {
					t.Errorf("%s reads %s, which is not mounted: %v", name, value, targets)
				}
			}
		}
	}
	exporter := c.Services["exporter"]
	if _, err := os.Stat(filepath.Join(folder, exporter.Build, "Dockerfile")); err != nil {
		t.Error(err)
	}
	knowFlags(t, "compose.yaml", exporter.Command...)
	text, err := os.ReadFile(folder + "/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := "SCENARIO: " + strings.Join(demo.Scenarios(), ", ") + "."; !strings.Contains(string(text), want) {
		t.Errorf("compose.yaml does not say %q", want)
	}
}

func keys(m map[string]string) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// Grafana's file provider looks where compose mounts the dashboards, and all are there.
func TestInstallGrafana(t *testing.T) {
	provider := installed[struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}](t, "install/grafana/provisioning/dashboards/cacheinv.yaml").Providers
	if len(provider) != 1 || provider[0].Type != "file" {
		t.Fatalf("providers %v", provider)
	}
	mounts := installed[composeConfig](t, "install/compose/compose.yaml").Services["grafana"].Volumes
	if !slices.Contains(mounts, "../../../dashboards:"+provider[0].Options.Path+":ro") {
		t.Errorf("compose.yaml does not mount the dashboards at %s: %v", provider[0].Options.Path, mounts)
	}
	for file, uid := range map[string]string{
		"overview": "cacheinv-overview", "consistency": "cacheinv-consistency", "queues": "cacheinv-queues", "exporter": "cacheinv-exporter",
	} {
		var d struct{ UID string }
		text, err := os.ReadFile("../dashboards/" + file + ".json")
		if err := errors.Join(err, json.Unmarshal(text, &d)); err != nil || d.UID != uid {
			t.Errorf("dashboards/%s.json: uid %q: %v", file, d.UID, err)
		}
	}
	type sources struct{ Datasources []map[string]any }
	alone, composed := installed[sources](t, "install/grafana/provisioning/datasources/cacheinv.yaml"), installed[sources](t, "install/compose/datasources.yaml")
	for _, s := range append(alone.Datasources, composed.Datasources...) {
		delete(s, "url")
	}
	if !reflect.DeepEqual(alone, composed) {
		t.Errorf("the datasources differ in more than their URLs: %v and %v", alone, composed)
	}
}

// The unit is hardened, and its flags are the exporter's.
func TestInstallSystemd(t *testing.T) {
	unit, err := os.ReadFile("install/systemd/cacheinv_exporter.service")
	if err != nil {
		t.Fatal(err)
	}
	settings, section := map[string][]string{}, ""
	for i, line := range strings.Split(string(unit), "\n") {
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			settings[section+name] = append(settings[section+name], value)
		} else if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]") + "."
		} else if line != "" && !strings.HasPrefix(line, "#") {
			t.Errorf("line %d is neither setting, section nor comment: %s", i+1, line)
		}
	}
	for name, want := range map[string]string{
		"DynamicUser": "yes", "ProtectSystem": "strict", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "MemoryMax": "512M",
		"RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "Restart": "on-failure", "RestartPreventExitStatus": "64",
		"ExecReload": "/bin/kill -HUP $MAINPID", "EnvironmentFile": "-/etc/default/cacheinv_exporter",
	} {
		if got := settings["Service."+name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(settings["Service.SystemCallFilter"]) != 2 || len(settings["Install.WantedBy"]) != 1 {
		t.Errorf("SystemCallFilter %q, WantedBy %q", settings["Service.SystemCallFilter"], settings["Install.WantedBy"])
	}
	start := settings["Service.ExecStart"]
	if len(start) != 1 || !strings.HasPrefix(start[0], "/usr/local/bin/cacheinv_exporter ") || !strings.HasSuffix(start[0], " $ARGS") {
		t.Errorf("ExecStart %q", start)
	}
	flags, err := os.ReadFile("install/systemd/cacheinv_exporter.default")
	if err != nil {
		t.Fatal(err)
	}
	knowFlags(t, "systemd", append(strings.Split(string(flags), "\n"), start...)...)
}

type kubernetesObject struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec struct {
		Selector  map[string]any
		JobLabel  string `yaml:"jobLabel"`
		Ports     []struct{ Name, TargetPort string }
		Endpoints []struct{ Port string }
		Template  struct {
			Metadata struct{ Labels map[string]any }
			Spec     struct {
				Containers []struct {
					Image string
					Args  []string
					Ports []struct{ Name string }
				}
			}
		}
	}
}

// The ServiceMonitor finds the Service, the Service the pods, and the job gets the name that the rules know.
func TestInstallKubernetes(t *testing.T) {
	const folder = "install/kubernetes/"
	k := installed[struct {
		Resources          []string
		ConfigMapGenerator []struct {
			Name  string
			Files []string
		} `yaml:"configMapGenerator"`
		Images []struct{ Name string }
	}](t, folder+"kustomization.yaml")
	for _, r := range k.Resources {
		if _, err := os.Stat(folder + r); err != nil {
			t.Error(err)
		}
	}
	if len(k.ConfigMapGenerator) != 1 || !slices.Equal(k.ConfigMapGenerator[0].Files, []string{"cacheinv.yml"}) {
		t.Errorf("ConfigMaps %v", k.ConfigMapGenerator)
	}
	if _, err := config.Load(folder+"cacheinv.yml", backends.All); err != nil {
		t.Error(err)
	}
	monitor := installed[kubernetesObject](t, "../alerts/kubernetes/servicemonitor.yaml")
	service, deployment := installed[kubernetesObject](t, folder+"service.yaml"), installed[kubernetesObject](t, folder+"deployment.yaml")
	wanted, _ := monitor.Spec.Selector["matchLabels"].(map[string]any)
	for name, value := range wanted {
		if service.Metadata.Labels[name] != value {
			t.Errorf("the ServiceMonitor wants the label %s=%s, and the Service has %v", name, value, service.Metadata.Labels)
		}
	}
	if job := service.Metadata.Labels[monitor.Spec.JobLabel]; len(wanted) == 0 || job != "cacheinv_exporter" {
		t.Errorf("the ServiceMonitor selects %v, and the job is %q", wanted, job)
	}
	if len(monitor.Spec.Endpoints) != 1 || len(service.Spec.Ports) != 1 || service.Spec.Ports[0].Name != monitor.Spec.Endpoints[0].Port {
		t.Errorf("the ServiceMonitor asks %v, and the Service has %v", monitor.Spec.Endpoints, service.Spec.Ports)
	}
	if pods := deployment.Spec.Template.Metadata.Labels; len(pods) == 0 || !reflect.DeepEqual(service.Spec.Selector, pods) {
		t.Errorf("the Service selects %v, and the pods have %v", service.Spec.Selector, pods)
	}
	c := deployment.Spec.Template.Spec.Containers
	if len(c) != 1 || len(k.Images) != 1 || c[0].Image != k.Images[0].Name || len(c[0].Ports) != 1 || c[0].Ports[0].Name != "metrics" {
		t.Errorf("containers %v, images %v", c, k.Images)
	}
	knowFlags(t, "deployment.yaml", c[0].Args...)
}

// The page's commands: files that are there, flags that exist, shell and YAML that parse.
func TestInstallPage(t *testing.T) {
	text, err := os.ReadFile("install.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, path := range regexp.MustCompile("(?:^|[\\s`(=])(?:\\.\\./)?((?:docs/install|alerts|dashboards)/[a-z_./-]+[a-z])").FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat("../" + path[1]); err != nil {
			t.Error(err)
		}
	}
	blocks := regexp.MustCompile("(?s)```(sh|yaml)\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) < 20 {
		t.Fatalf("only %d blocks of commands", len(blocks))
	}
	command := regexp.MustCompile(`(?:cacheinv_exporter|go run \.) .*`)
	for _, b := range blocks {
		if b[1] == "yaml" {
			var parsed any
			if err := yaml.Unmarshal([]byte(b[2]), &parsed); err != nil {
				t.Errorf("%v in\n%s", err, b[2])
			}
			continue
		}
		bash := exec.Command("bash", "-n")
		bash.Stdin = strings.NewReader(b[2])
		if out, err := bash.CombinedOutput(); err != nil {
			t.Errorf("%v: %s in\n%s", err, out, b[2])
		}
		for _, line := range strings.Split(b[2], "\n") {
			if strings.HasPrefix(line, "cacheinv_exporter ") || strings.HasPrefix(line, "go run .") {
				knowFlags(t, "install.md", command.FindString(line))
			}
		}
	}
}
