// Package standin is the programs that runbooks name and a test can't run as they are: redis-cli and nc that find the test's servers
// by the names of hosts, kubectl, systemctl and aws that only check their arguments.
//
// [Place] says where the test's servers are; folder program has the program that stands in.
package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Place is what stand-ins know of where lines are run.
type Place struct {
	// Binary of the exporter, the address at which it serves, and the file with its log.
	Binary, Exporter, Log string
	// Real programs, by name, behind stand-ins.
	Real map[string]string
	// Password that is typed where redis-cli asks for one.
	Password string
	// Redis and Memcached have the addresses of servers by the hosts that runbooks name.
	Redis, Memcached map[string]string
	// Entrypoint and the names after it are as docs/install and the image have them; a Service has its port: NAME:PORT.
	Entrypoint, Namespace, Deployment, Service, PodLabel string
	Units                                                []string
}

const (
	// PlaceFile in the environment names a file with the Place, as JSON.
	PlaceFile = "RUNBOOK_PLACE"
	// Fault is the exit code for a line that is wrong.
	Fault = 70
)

// Names are the programs that are not run as they are, and why.
var Names = map[string]string{
	"redis-cli":  "the real one, with the address of a real server for each host",
	"jq":         "the real one, once it is seen that its input has the fields that are asked for",
	"nc":         "a connection to a real memcached",
	"kubectl":    "there is no Kubernetes: arguments, names and namespace are checked; what runs in the exporter's pod is run",
	"systemctl":  "there is no systemd: verb and unit are checked",
	"journalctl": "there is no journal: the unit is checked, and the exporter's log is given",
	"aws":        "there is no account: arguments are checked",
}

// Main is the program of that name, and gives its exit code.
func Main(name string, args []string) int {
	var p Place
	text, err := os.ReadFile(os.Getenv(PlaceFile))
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err == nil {
		err = p.run(name, args)
	}
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended):
		return ended.ExitCode()
	}
	fmt.Fprintf(os.Stderr, "stand-in for %s: %v: %q\n", name, err, args)
	return Fault
}

func (p *Place) run(name string, args []string) error {
	switch name {
	case "redis-cli":
		return p.redisCLI(args)
	case "jq":
		return p.jq(args)
	case "nc":
		return p.nc(args)
	case "kubectl":
		return p.kubectl(args)
	case "systemctl", "journalctl":
		return p.systemd(name, args)
	case "aws":
		return aws(args)
	}
	return errors.New("nobody stands in for it")
}

// become another program.
func (p *Place) become(name string, args []string, env ...string) error {
	return syscall.Exec(p.Real[name], append([]string{name}, args...), append(os.Environ(), env...))
}

func (p *Place) redisCLI(args []string) error {
	var there, env []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-h" && i+1 < len(args):
			i++
			address, ok := p.Redis[args[i]]
			if !ok {
				return fmt.Errorf("no Redis is called %s", args[i])
			}
			host, port, _ := strings.Cut(address, ":")
			there = append(there, "-h", host, "-p", port)
		case args[i] == "-p" && i+1 < len(args):
			i++ // the host has it
		case args[i] == "--askpass":
			env = append(env, "REDISCLI_AUTH="+p.Password)
		case p.Redis[strings.TrimSuffix(args[i], ":7000")] != "":
			there = append(there, p.Redis[strings.TrimSuffix(args[i], ":7000")])
		default:
			there = append(there, args[i])
		}
	}
	if slices.ContainsFunc(there, func(a string) bool { return strings.HasPrefix(a, "--latency") }) {
		return p.become("redis-cli", there, env...) // it goes on until somebody ends it
	}
	cmd := exec.Command(p.Real["redis-cli"], there...)
	cmd.Stdin, cmd.Stderr, cmd.Env = os.Stdin, os.Stderr, append(os.Environ(), env...)
	out, err := cmd.Output()
	if _, werr := os.Stdout.Write(out); err == nil {
		err = werr
	}
	if refused := redisRefusal.Find(out); refused != nil { // a grep behind it would hide that
		return fmt.Errorf("it is refused: %s", refused)
	}
	return err
}

// redisRefusal is what a Redis says of a command that it does not take; memcachedRefusal is memcached's.
var (
	redisRefusal     = regexp.MustCompile(`(?m)^(ERR|WRONGTYPE|NOGROUP|NOPERM|NOAUTH|WRONGPASS|READONLY|MISCONF|EXECABORT) .*`)
	memcachedRefusal = regexp.MustCompile(`(?m)^(CLIENT_|SERVER_)?ERROR\b.*`)
)

var (
	jqText  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	jqField = regexp.MustCompile(`\.([A-Za-z_]\w*)|[{,]\s*([A-Za-z_]\w*)\s*(?:[,}])`)
)

// jq first looks whether the input has each field that the program names: one that it lacks would be null, and nobody would notice.
func (p *Place) jq(args []string) error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(input)); ; {
		var value any
		if err := d.Decode(&value); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("input: %w: %.80q", err, input)
		}
		addFields(has, value)
	}
	program := args[len(args)-1]
	// Twice, since the end of one shorthand is the beginning of the next.
	bare := strings.ReplaceAll(jqText.ReplaceAllString(program, `""`), ",", ",,")
	for _, m := range jqField.FindAllStringSubmatch(bare, -1) {
		if field := m[1] + m[2]; len(has) > 0 && !has[field] {
			return fmt.Errorf("the input has no field %s", field)
		}
	}
	cmd := exec.Command(p.Real["jq"], args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), os.Stdout, os.Stderr
	return cmd.Run()
}

func addFields(has map[string]bool, value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			has[name] = true
			addFields(has, inner)
		}
	case []any:
		for _, inner := range v {
			addFields(has, inner)
		}
	}
}

func (p *Place) nc(args []string) error {
	wait, rest, err := parse(args, map[string]bool{"-w": true})
	if err != nil || len(rest) != 2 {
		return fmt.Errorf("want nc [-w SECONDS] HOST PORT: %w", err)
	}
	address, ok := p.Memcached[rest[0]]
	if !ok || rest[1] != "11211" {
		return fmt.Errorf("no memcached is at %s:%s", rest[0], rest[1])
	}
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	idle := 2 * time.Second
	if wait["-w"] != "" {
		if idle, err = time.ParseDuration(wait["-w"] + "s"); err != nil {
			return err
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return err
	}
	var answer bytes.Buffer
	if _, err := io.Copy(io.MultiWriter(os.Stdout, &answer), conn); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if refused := memcachedRefusal.Find(answer.Bytes()); refused != nil {
		return fmt.Errorf("it is refused: %s", refused)
	}
	return nil
}

// parse gives flags with their values, and what else there is. takes has the known flags, and whether a value belongs to them.
func parse(args []string, takes map[string]bool) (flags map[string]string, rest []string, err error) {
	flags = map[string]string{}
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(args[i], "=")
		if !strings.HasPrefix(name, "-") {
			rest = append(rest, args[i])
			continue
		}
		needs, known := takes[name]
		switch {
		case !known:
			return nil, nil, fmt.Errorf("unknown flag %s", name)
		case !needs && given:
			return nil, nil, fmt.Errorf("%s takes no value", name)
		case needs && !given:
			if i++; i == len(args) {
				return nil, nil, fmt.Errorf("%s lacks its value", name)
			}
			value = args[i]
		}
		flags[name] = value
	}
	return flags, rest, nil
}

// kubectlVerbs have the flags that runbooks need, and whether each takes a value.
var kubectlVerbs = map[string]map[string]bool{
	"get":             {"-n": true, "-l": true, "-o": true, "-A": false, "--raw": true},
	"describe":        {"-n": true},
	"logs":            {"-n": true, "--since": true, "--tail": true, "--previous": false},
	"exec":            {"-n": true},
	"port-forward":    {"-n": true},
	"rollout status":  {"-n": true, "--timeout": true},
	"rollout history": {"-n": true},
}

func (p *Place) kubectl(args []string) error {
	if len(args) == 0 {
		return errors.New("no verb")
	}
	verb, rest := args[0], args[1:]
	if verb == "rollout" && len(rest) > 0 {
		verb, rest = verb+" "+rest[0], rest[1:]
	}
	takes, ok := kubectlVerbs[verb]
	if !ok {
		return fmt.Errorf("unknown verb %s", verb)
	}
	var command []string
	if i := slices.Index(rest, "--"); i >= 0 {
		rest, command = rest[:i], rest[i+1:]
	}
	flags, names, err := parse(rest, takes)
	if err != nil {
		return err
	}
	if err := p.knowKubectl(args, command); err != nil {
		return err
	}
	ours := slices.ContainsFunc(names, func(n string) bool { return n == p.Deployment || n == "deployment/"+p.Deployment })
	if label := flags["-l"]; strings.HasPrefix(label, "app.kubernetes.io/name=") {
		if ours = true; label != p.PodLabel {
			return fmt.Errorf("the pods have %s", p.PodLabel)
		}
	}
	if ours && flags["-n"] != p.Namespace {
		return fmt.Errorf("it is in the namespace %s", p.Namespace)
	}
	switch {
	case flags["--raw"] != "":
		return p.raw(flags["--raw"])
	case verb == "exec":
		return p.inPod(ours, names, command)
	case verb == "logs" && ours:
		return p.log()
	case len(names) == 0:
		return errors.New("of what?")
	}
	return nil
}

// knowKubectl has the real one parse the line, where it is installed.
func (p *Place) knowKubectl(args, command []string) error {
	if p.Real["kubectl"] == "" {
		return nil
	}
	if command != nil {
		args = args[:len(args)-len(command)-1]
	}
	out, err := exec.Command(p.Real["kubectl"], append(slices.Clone(args), "--help")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubectl refuses it: %s", out)
	}
	return nil
}

// raw asks the exporter through the API server's proxy.
func (p *Place) raw(path string) error {
	at, ok := strings.CutPrefix(path, "/api/v1/namespaces/"+p.Namespace+"/services/"+p.Service+"/proxy/")
	if !ok {
		return fmt.Errorf("the service %s is in the namespace %s", p.Service, p.Namespace)
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+p.Exporter+"/"+at, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

// inPod runs a command. The exporter's image has one program, and no shell.
func (p *Place) inPod(ours bool, names, command []string) error {
	if len(names) != 1 || len(command) == 0 {
		return errors.New("want kubectl exec POD -- COMMAND")
	}
	if ours {
		if command[0] != p.Entrypoint {
			return fmt.Errorf("the image holds %s alone", p.Entrypoint)
		}
		command[0] = p.Binary
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

func (p *Place) log() error {
	text, err := os.ReadFile(p.Log)
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	return err
}

func (p *Place) systemd(name string, args []string) error {
	flags, rest, err := parse(args, map[string]bool{"-u": true, "-n": true, "--since": true, "--no-pager": false})
	if err != nil {
		return err
	}
	unit := flags["-u"]
	if name == "systemctl" {
		if len(rest) != 2 || !slices.Contains([]string{"status", "reload"}, rest[0]) {
			return errors.New("want status or reload, and a unit")
		}
		unit = rest[1]
	}
	if !slices.Contains(p.Units, unit) {
		return fmt.Errorf("%q is none of the units %q", unit, p.Units)
	}
	if name == "journalctl" {
		return p.log()
	}
	return nil
}

func aws(args []string) error {
	flags, rest, err := parse(args, map[string]bool{
		"--table-name": true, "--key-condition-expression": true, "--filter-expression": true, "--no-scan-index-forward": false, "--limit": true,
		"--select": true, "--expression-attribute-names": true, "--expression-attribute-values": true,
	})
	if err != nil {
		return err
	}
	if what := strings.Join(rest, " "); what != "dynamodb query" && what != "sts get-caller-identity" {
		return fmt.Errorf("unknown: %s", what)
	}
	for _, name := range []string{"--expression-attribute-names", "--expression-attribute-values"} {
		if text := flags[name]; text != "" && !json.Valid([]byte(text)) {
			return fmt.Errorf("%s is no JSON", name)
		}
	}
	return nil
}
