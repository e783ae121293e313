package docs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/test/shop"
	"github.com/cacheinv/cacheinv_exporter/internal/test/standin"
)

const (
	loginPassword = "of-a-test"
	// installedConfig is where docs/install.md puts the configuration.
	installedConfig = "/etc/cacheinv_exporter/cacheinv.yml"
	installedBinary = "/usr/local/bin/cacheinv_exporter"
	installedAudit  = "/var/lib/cacheinv/audit"
	// endless lines are ended after it.
	endlessTime = "2"
)

// endless lines say themselves that somebody ends them.
var endless = regexp.MustCompile(`--latency-history|kubectl port-forward`)

// kafkaPrograms are classes of the real Kafka.
var kafkaPrograms = map[string]string{
	"kafka-topics.sh":           servers.KafkaTopics,
	"kafka-consumer-groups.sh":  servers.KafkaGroups,
	"kafka-configs.sh":          "kafka.admin.ConfigCommand",
	"kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
	"kafka-get-offsets.sh":      "org.apache.kafka.tools.GetOffsetShell",
	"kafka-leader-election.sh":  "org.apache.kafka.tools.LeaderElectionCommand",
}

// incident is a place in which all that runbooks name is there: real caches, queues, Prometheus and Alertmanager.
type incident struct {
	standin.Place
	shop       *shop.Shop
	prometheus *servers.PrometheusServer
	dir        string
	names      *strings.Replacer
	environ    []string
}

func openIncident(t *testing.T) *incident {
	t.Helper()
	in := &incident{shop: shop.Open(t, shop.Options{Kafka: true, Origin: true}), dir: t.TempDir()}
	in.Binary, in.Exporter = servers.Build(t), servers.FreeAddr(t)
	in.Log = filepath.Join(in.dir, "exporter.log")
	configFile := filepath.Join(in.dir, "cacheinv.yml")
	writeFile(t, configFile, in.shop.Config(`recovery:
  patterns: ["product:*:price"]
  restart: ["true"]
  monitor: {depth: 200, every: 1s}`), 0o600)
	exporter := servers.Exporter(t, in.Binary, in.Exporter, "--config.file="+configFile, "--web.enable-lifecycle")
	application := answering(t)
	in.prometheus = servers.Prometheus(t, in.prometheusFiles(t))
	alertmanager := servers.Alertmanager(t, "../alerts/alertmanager.yml")
	cluster := servers.RedisCluster(t, 3, 0)
	sentinel := servers.Sentinels(t, 1, "mymaster", in.shop.L2[0])[0]
	in.fill(t)
	in.install(t)
	in.Redis = map[string]string{
		"cache-1": in.shop.Queue.Addr, "cache-2": in.shop.L2[1].Addr, "cache-3": in.shop.L2[2].Addr, "s1": sentinel.Addr,
		"c1": cluster.Addrs()[0], "c2": cluster.Addrs()[1], "c3": cluster.Addrs()[2], "cluster-1": cluster.Addrs()[0],
	}
	in.Memcached = map[string]string{"cache-3": in.shop.L3[0].Addr, "cache-4": in.shop.L3[1].Addr}
	in.programs(t)
	in.names = strings.NewReplacer(
		installedConfig, configFile, installedAudit, filepath.Join(in.dir, "audit"), "/etc/prometheus/prometheus.yml", filepath.Join(in.prometheus.Dir, "prometheus.yml"),
		"http://localhost:10120", "http://"+in.Exporter, "http://localhost:9090", "http://"+in.prometheus.Addr, "http://localhost:9093", alertmanager.URL,
		"http://app-1:8080", application, "http://app-2:8080", application, "http://app-3:8080", application, "http://$i:8080", application,
		"http://app-1/", application+"/", "http://app/", application+"/", "http://processor:8080", application, "http://INSTANCE", "http://"+in.Exporter,
		"kafka:9092", in.shop.Broker.Addr, "/dev/tcp/kafka-2/9092", devTCP(in.shop.Broker.Addr), "/dev/tcp/cache-3/11211", devTCP(in.shop.L3[0].Addr),
		"'cart*'", "'user:*'", "app-headless", "localhost", "--timeout-ms 10000", "--timeout-ms 2000", "-h PRIMARY", "-h cache-1",
		"XREADGROUP GROUP GROUP", "XREADGROUP GROUP "+shop.Group, "list=QUEUE todo=QUEUE", "list=invalidation_queue todo=invalidation_queue",
		"LLEN LIST", "LLEN invalidation_queue", "LINDEX LIST", "LINDEX invalidation_queue", "LRANGE LIST", "LRANGE invalidation_queue",
		"USAGE LIST", "USAGE invalidation_queue", "RPUSH LIST", "RPUSH invalidation_queue", "CURRENT-OFFSET", "0", "PROCESSOR-ADDRESS", "127.0.0.1:1",
		"--partition N", "--partition 0", "TOPIC:N", in.shop.Topic+":0", "STREAM ID ID", "STREAM - +", "SENTINEL MASTER NAME", "SENTINEL MASTER mymaster",
		"SENTINEL REPLICAS NAME", "SENTINEL REPLICAS mymaster",
	)
	servers.Eventually(t, "two scrapes", func() bool {
		scrapes := in.prometheus.Query(t, `count_over_time(up{job="cacheinv_exporter"}[1m]) > 1`)
		return len(scrapes) == 1
	})
	writeFile(t, in.Log, exporter.Output(), 0o600)
	return in
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func devTCP(addr string) string { return "/dev/tcp/" + strings.Replace(addr, ":", "/", 1) }

// answering is an application that has an answer to everything.
func answering(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"version":"2.3.1","succeeded":1,"failed":0}`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (in *incident) prometheusFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{"prometheus.yml": fmt.Sprintf(`global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s, external_labels: {cluster: local}}
rule_files: ["rules/*.yml"]
scrape_configs:
  - job_name: cacheinv_exporter
    honor_labels: true
    static_configs: [{targets: [%q]}]
`, in.Exporter)}
	for _, name := range ruleFiles(t) {
		files["rules/"+name] = read(t, filepath.Join("..", "alerts", name))
	}
	return files
}

// fill in what runbooks look for: messages that wait, a stream with a group, the exporter's login.
func (in *incident) fill(t *testing.T) {
	t.Helper()
	var messages []shop.Message
	for n := range 600 {
		messages = append(messages, shop.Message{Key: shop.Key(n % shop.Canaries), Version: 1})
	}
	in.shop.Publish(messages...)
	in.shop.Queue.Must(t, "SET", shop.Key(1), "x", "EX", 3600)
	in.shop.Queue.Must(t, "XGROUP", "CREATE", "STREAM", shop.Group, "0", "MKSTREAM")
	in.shop.Queue.Must(t, "XADD", "STREAM", "*", "key", shop.Key(1))
	for _, server := range append(slices.Clone(in.shop.L2), in.shop.Queue) {
		server.Must(t, "ACL", "SETUSER", "exporter", "on", ">"+loginPassword, "~*", "+@all")
	}
}

// spoil a copy and let a few messages wait, so that commands have something to find; what earlier ones deleted is filled again.
func (in *incident) spoil(t *testing.T) {
	t.Helper()
	for n := range shop.Canaries {
		value := fmt.Sprintf(`{"name":"user %d","version":1}`, n)
		for _, server := range in.shop.L2 {
			server.Must(t, "SET", shop.Key(n), value, "EX", 3000)
		}
		for _, server := range in.shop.L3 {
			item := &memcache.Item{Key: shop.Key(n), Value: []byte(value), Expiration: 3000}
			if err := servers.MemcachedClient(t, server.Addr).Set(item); err != nil {
				t.Fatal(err)
			}
		}
	}
	in.shop.L2[2].Must(t, "SET", shop.Key(1), `{"name":"user 1","version":0}`, "EX", 3000)
	in.shop.Publish(shop.Message{Key: shop.Key(2), Version: 1}, shop.Message{Key: shop.Key(3), Version: 1})
}

// install takes names from docs/install, and from the image.
func (in *incident) install(t *testing.T) {
	t.Helper()
	const folder = "install/kubernetes/"
	deployment, service := installed[kubernetesObject](t, folder+"deployment.yaml"), installed[kubernetesObject](t, folder+"service.yaml")
	in.Namespace = installed[struct{ Namespace string }](t, folder+"kustomization.yaml").Namespace
	in.Deployment, in.Service = deployment.Metadata.Name, service.Metadata.Name+":"+service.Spec.Ports[0].Name
	const label = "app.kubernetes.io/name"
	in.PodLabel = label + "=" + fmt.Sprint(deployment.Spec.Template.Metadata.Labels[label])
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT \["(.+?)"\]$`).FindStringSubmatch(read(t, "../Dockerfile"))
	if entry == nil {
		t.Fatal("the image has no ENTRYPOINT")
	}
	in.Entrypoint = entry[1]
	units, err := filepath.Glob("install/systemd/*.service")
	if err != nil || len(units) == 0 {
		t.Fatal("no units", err)
	}
	in.Units = []string{"prometheus"}
	for _, u := range units {
		in.Units = append(in.Units, strings.TrimSuffix(filepath.Base(u), ".service"))
		if start := "ExecStart=" + installedBinary + " --config.file=" + installedConfig; !strings.Contains(read(t, u), start) {
			t.Errorf("%s does not begin the exporter by %s", u, start)
		}
	}
	for _, path := range []string{folder + "deployment.yaml", "install.md"} {
		if !strings.Contains(read(t, path), "--config.file="+installedConfig) {
			t.Errorf("%s does not install %s", path, installedConfig)
		}
	}
}

// programs puts stand-ins, Kafka's programs and the exporter where a shell finds them.
func (in *incident) programs(t *testing.T) {
	t.Helper()
	bin := filepath.Join(in.dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	in.Real, in.Password = map[string]string{}, loginPassword
	for _, name := range []string{"redis-cli", "jq"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("%s is not installed, and the test needs it: %v", name, err)
		}
		in.Real[name] = path
	}
	if path, err := exec.LookPath("kubectl"); err == nil {
		in.Real["kubectl"] = path
	}
	program := filepath.Join(in.dir, "stand-in")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../internal/test/standin/program")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name := range standin.Names {
		if err := os.Symlink(program, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	// A moment is enough.
	writeFile(t, filepath.Join(bin, "sleep"), "#!/bin/sh\nexec /bin/sleep 0.05\n", 0o700)
	for name, class := range kafkaPrograms {
		writeFile(t, filepath.Join(bin, name), servers.KafkaScript(t, class), 0o700)
	}
	if err := os.Symlink(in.Binary, filepath.Join(bin, filepath.Base(installedBinary))); err != nil {
		t.Fatal(err)
	}
	known, err := json.Marshal(in.Place)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(in.dir, "place.json")
	writeFile(t, file, string(known), 0o600)
	in.environ = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), standin.PlaceFile+"="+file)
}

var (
	anyWord = regexp.MustCompile(`\b(CLASS|LAYER|NODE|QUEUE|GROUP|TOPIC|HISTORY|PROBE|APP|KEY)\b`)
	words   = map[string]string{
		"CLASS": "user_profile", "LAYER": "l2", "NODE": "redis-3", "QUEUE": "list", "GROUP": shop.Group, "TOPIC": "cache-invalidation",
		"HISTORY": "processor", "PROBE": "end_to_end", "APP": "web", "KEY": shop.Key(1),
	}
	groupWord = regexp.MustCompile(`XREADGROUP GROUP`)
)

// here is a line or a query with the names of this place.
func (in *incident) here(text string) string {
	const kept = "XREADGROUP \x00"
	text = groupWord.ReplaceAllString(in.names.Replace(text), kept)
	text = anyWord.ReplaceAllStringFunc(text, func(word string) string { return words[word] })
	return strings.ReplaceAll(text, kept, "XREADGROUP GROUP")
}

// statements of a block: lines, and what takes several.
func statements(t *testing.T, block string) (all []string) {
	t.Helper()
	var open []string
	for _, line := range strings.Split(block, "\n") {
		if open = append(open, line); !complete(t, strings.Join(open, "\n")) {
			continue
		}
		if statement := strings.TrimSpace(strings.Join(open, "\n")); statement != "" {
			all = append(all, statement)
		}
		open = nil
	}
	if open != nil {
		t.Errorf("a shell waits for more: %q", open)
	}
	return all
}

func complete(t *testing.T, text string) bool {
	t.Helper()
	trimmed := strings.TrimSpace(text)
	if strings.HasSuffix(trimmed, `\`) {
		return false
	}
	shell := exec.CommandContext(t.Context(), "bash", "-n")
	shell.Stdin = strings.NewReader(text)
	return shell.Run() == nil
}

// definition of a function or variable: later statements of the block need it.
var definition = regexp.MustCompile(`^(\w+\(\) \{|export \w+=|\w+=\S+( \w+=\S+)*$)`)

// wrong is what a program says of a line that it does not take.
var wrong = regexp.MustCompile(`(?mi)^(ERR|WRONGTYPE|NOGROUP|NOPERM|NOAUTH|WRONGPASS|READONLY|MISCONF|ERROR)\b|^stand-in for|usage:|unknown |unrecognized|` +
	`command not found|no such file|try --help|syntax error|invalid option|is not a recognized|exception in thread`)

// run a statement as a shell does into which it is pasted.
func (in *incident) run(t *testing.T, defined, statement string) {
	t.Helper()
	script := in.here(defined + "\n" + statement)
	args := []string{"bash", "-c", "set -o pipefail\n" + script}
	if endless.MatchString(statement) {
		args = append([]string{"timeout", "-s", "INT", endlessTime}, args...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = in.environ, in.dir, time.Second
	began := time.Now()
	out, err := cmd.CombinedOutput()
	code := 0
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		code = ended.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	t.Logf("$ %s\n%.600s\nexit code %d after %s", in.here(statement), out, code, time.Since(began).Round(10*time.Millisecond))
	fine := []int{0, 1, 141, 23} // 1: grep found nothing, check something; 141, 23 of curl: head had enough
	if ctx.Err() != nil {
		t.Errorf("%s\ndoes not end; who pastes it waits for ever", statement)
	}
	if endless.MatchString(statement) {
		fine = append(fine, 124)
	}
	if strings.Contains(statement, "cacheinv_exporter diagnose ") {
		fine = append(fine, 2) // unknown: it looks for two seconds, which is too short for some verdicts
	}
	if !slices.Contains(fine, code) {
		t.Errorf("%s\nends with %d:\n%s", statement, code, out)
	}
	if said := wrong.Find(out); said != nil {
		t.Errorf("%s\nis refused (%q):\n%s", statement, said, out)
	}
}

// Each line of the runbooks is run: commands of ours for real, over real servers; of what can't be there (Kubernetes,
// systemd, AWS) arguments and names are checked. standin.Names says which.
func TestLinesOfRunbooks(t *testing.T) {
	in := openIncident(t)
	stop := in.deleteProbes(t)
	defer stop()
	ran := map[string]bool{}
	invalidate, found := in.invalidate(t), 0
	for _, path := range pages(t) {
		found += len(blocks(read(t, path), "sh"))
		t.Run(alertOf(path), func(t *testing.T) {
			if strings.Contains(read(t, path), "```sh") {
				in.spoil(t)
			}
			for _, block := range blocks(read(t, path), "sh") {
				var defined string
				if strings.Contains(block, "invalidate \"") {
					defined = invalidate
				}
				for _, statement := range statements(t, block) {
					bare, _, _ := strings.Cut(statement, "  #")
					if bare = defined + strings.TrimSpace(bare); ran[bare] {
						continue
					}
					ran[bare] = true
					in.run(t, defined, statement)
					if definition.MatchString(statement) {
						defined += statement + "\n"
					}
				}
			}
		})
	}
	if found < 100 {
		t.Errorf("only %d blocks were found", found)
	}
	t.Run("in Kubernetes", func(t *testing.T) { in.inKubernetes(t) })
	t.Run("queries", func(t *testing.T) { in.queries(t) })
}

// invalidate is the function of README.md, which other blocks of it use.
func (in *incident) invalidate(t *testing.T) string {
	t.Helper()
	for _, block := range blocks(read(t, "runbooks/README.md"), "sh") {
		if strings.HasPrefix(block, "invalidate() {") {
			return block + "\n"
		}
	}
	t.Fatal("runbooks/README.md does not define invalidate")
	return ""
}

// inKubernetes: after the function of README.md all lines of ours run in the pod.
func (in *incident) inKubernetes(t *testing.T) {
	t.Helper()
	i := slices.IndexFunc(blocks(read(t, "runbooks/README.md"), "sh"), func(b string) bool { return strings.HasPrefix(b, "cacheinv_exporter() {") })
	if i < 0 {
		t.Fatal("runbooks/README.md has no function for lines in Kubernetes")
	}
	in.spoil(t)
	function := blocks(read(t, "runbooks/README.md"), "sh")[i]
	in.run(t, function, "cacheinv_exporter repair --config.file="+installedConfig+" --class=CLASS --strategy=newest --audit.dir="+installedAudit+" --apply")
	if value := in.shop.L2[2].Get(t.Context(), shop.Key(1)).Val(); strings.Contains(value, `"version":0`) {
		t.Errorf("the copy was not repaired: %s", value)
	}
	mounts := read(t, "install/kubernetes/deployment.yaml")
	if !strings.Contains(mounts, "mountPath: "+filepath.Dir(installedAudit)+"\n") {
		t.Errorf("the pod can't write to %s", installedAudit)
	}
}

// queries are asked of a real Prometheus, which has the rules.
func (in *incident) queries(t *testing.T) {
	t.Helper()
	asked := map[string]bool{}
	for _, path := range pages(t) {
		for _, query := range blocks(read(t, path), "promql") {
			if query = in.here(query); !asked[query] {
				asked[query] = true
				in.prometheus.Query(t, query)
			}
		}
	}
	if len(asked) < 50 {
		t.Errorf("only %d queries were found", len(asked))
	}
}

// deleteProbes plays the processor for the key that a runbook sends by hand.
func (in *incident) deleteProbes(t *testing.T) (stop func()) {
	t.Helper()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(200 * time.Millisecond):
				_ = in.shop.Queue.Del(t.Context(), "cacheinv:probe:by-hand").Err() // the line that waits for it would not end
			}
		}
	}()
	return func() { close(done); <-ended }
}

// What stands at the top of a runbook can be pasted as it is: it names nothing that must be filled in.
func TestFirstTwoMinutes(t *testing.T) {
	capitals := regexp.MustCompile(`\b[A-Z]{3,}\b`)
	for _, path := range pages(t) {
		if alertOf(path) == "README" {
			continue
		}
		_, part, _ := strings.Cut(read(t, path), "\n## First two minutes\n")
		part, _, _ = strings.Cut(part, "\n## ")
		var lines []string
		for _, block := range blocks(part, "sh") {
			lines = append(lines, strings.Split(block, "\n")...)
		}
		if len(lines) < 2 || len(lines) > 5 {
			t.Errorf("%s: %d lines to paste; want two to five", path, len(lines))
		}
		kinds := map[bool]bool{}
		for _, line := range lines {
			kinds[strings.HasPrefix(line, "kubectl ")] = true
			if word := capitals.FindString(line); word != "" {
				t.Errorf("%s: %s must be filled in before it can be pasted: %s", path, word, line)
			}
		}
		if len(kinds) != 2 {
			t.Errorf("%s: its first lines are not for both, a host and Kubernetes", path)
		}
	}
}
