package diagnosis

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// next is a command to paste: what to look at for the cause that stands first. It holds no secrets.
func next(e *Evidence, w *weighing) string {
	if w == nil {
		return "cacheinv_exporter check-config"
	}
	for _, c := range Causes {
		if stands(w.score[c]) {
			if command := e.look(c, w.heaviest(c)); command != "" {
				return command
			}
		}
	}
	return e.check()
}

// heaviest finding of a cause.
func (w *weighing) heaviest(c Cause) finding {
	var top finding
	most, size := 0.0, 0.0
	for _, f := range w.found {
		s := signal(f.signal)
		part := w.part[f.signal]
		if s.Cause != c || s.strength(f.size) == 0 {
			continue
		}
		if part > most || part == most && f.signal == top.signal && f.size > size {
			top, most, size = f, part, f.size
		}
	}
	return top
}

func (e *Evidence) look(c Cause, f finding) string {
	queue, group, _ := strings.Cut(f.subject, "/")
	switch f.signal {
	case nodeUnreached, linkDown, replicationLag, isolatedNode:
		return e.ask(f.subject)
	case clusterDown, dividedViews, splitBrain:
		return e.askGroup(f.subject)
	case brokerDown, queueUnreached, backlog, fallingBehind, oldMessages, stalledGroup, noMembers, lostMessages, rewound, underTarget, loop:
		return e.askQueue(queue, group, f.signal == loop)
	case groupIncomplete:
		return e.askGroup(f.subject)
	case appUnreached, appVersionsDiffer:
		return e.askVersions(queue)
	case versionsExplain:
		if len(e.Apps) > 0 {
			return e.askVersions(minorities(e)[f.subject])
		}
	case settingsDiffer, serversDiffer:
		return e.askSetting(f.subject)
	case strayCopies, survivorCopies, unexplainedStale, immortalCopies:
		class, _, _ := strings.Cut(f.subject, "/")
		return "cacheinv_exporter check --class=" + quote(class)
	case versionConflicts:
		return "cacheinv_exporter check --class=" + quote(f.subject)
	}
	if c == Queueing {
		return ""
	}
	return e.check()
}

// check of the class that has the most wrong copies.
func (e *Evidence) check() string {
	worst, most := "", 0
	if e.Result != nil {
		for i := range e.Result.Classes {
			c := &e.Result.Classes[i]
			wrong := 0
			for k := range c.Nodes {
				wrong += c.Nodes[k].Copies[verdict.Stale] + c.Nodes[k].Copies[verdict.Undecided]
			}
			if wrong > most {
				worst, most = c.Class, wrong
			}
		}
	}
	if worst == "" {
		return "cacheinv_exporter check"
	}
	return "cacheinv_exporter check --class=" + quote(worst)
}

// server of a node: as configured, or by its name where a group found it (GROUP/HOST:PORT).
func (e *Evidence) server(node string) (Server, bool) {
	if s, ok := e.Estate.Servers[node]; ok {
		return s, s.Host != "" || s.URL != ""
	}
	group, address, found := strings.Cut(node, "/")
	if !found {
		return Server{}, false
	}
	s := e.Estate.Servers[group]
	at := strings.LastIndexByte(address, ':')
	if at < 0 {
		return Server{}, false
	}
	s.Host, s.Port = strings.Trim(address[:at], "[]"), address[at+1:]
	if s.Kind == "http" {
		scheme, _, _ := strings.Cut(s.URL, "://")
		s.URL = scheme + "://" + address + "/"
	}
	return s, s.Kind != ""
}

func (e *Evidence) ask(node string) string {
	s, ok := e.server(node)
	if !ok || s.Host == "" && s.Kind != "http" {
		return e.check()
	}
	switch s.Kind {
	case "redis":
		return s.redis("INFO replication")
	case "memcached":
		return fmt.Sprintf(`timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"; printf "version\r\n" >&3; head -1 <&3' %s %s`, quote(s.Host), quote(s.Port))
	}
	return fmt.Sprintf("curl -sS -m 5 -o /dev/null -w '%%{http_code} %%{time_total}s\\n' %s", quote(s.URL))
}

func (s Server) redis(command string) string {
	tls := ""
	if s.TLS {
		tls = " --tls"
	}
	return fmt.Sprintf("timeout 5 redis-cli -h %s -p %s%s %s", quote(s.Host), quote(s.Port), tls, command)
}

// askGroup asks a node of the group: one that answers, if there is one.
func (e *Evidence) askGroup(group string) string {
	if e.Result != nil {
		command := "INFO replication"
		for _, g := range e.Result.Groups {
			if g.Name == group && g.Cluster != nil {
				command = "CLUSTER INFO"
			}
		}
		for i := range e.Result.Nodes {
			n := &e.Result.Nodes[i]
			if s, ok := e.server(n.Name); ok && n.Group == group && n.Up && s.Kind == "redis" {
				return s.redis(command)
			}
		}
	}
	return e.check()
}

func (e *Evidence) askQueue(queue, group string, newest bool) string {
	p, ok := e.Estate.Queues[queue]
	if !ok {
		return ""
	}
	switch {
	case len(p.Brokers) > 0:
		if group == "" {
			group = e.slowest(queue)
		}
		which := "--all-groups"
		if group != "" {
			which = "--group " + quote(group)
		}
		return fmt.Sprintf("kafka-consumer-groups --bootstrap-server %s --describe %s", quote(strings.Join(p.Brokers, ",")), which)
	case p.URL != "":
		return "curl -sS -m 5 " + quote(p.URL)
	}
	s, ok := e.primary(p.Node) // where the node is a group, its own address is only where it is found
	if !ok {
		s, ok = e.server(p.Node)
	}
	if !ok || s.Host == "" {
		return ""
	}
	switch {
	case newest && p.Stream:
		return s.redis("XREVRANGE " + quote(p.Key) + " + - COUNT 20")
	case newest:
		return s.redis("LRANGE " + quote(p.Key) + " -20 -1")
	case p.Stream:
		return s.redis("XINFO GROUPS " + quote(p.Key))
	}
	return s.redis("LLEN " + quote(p.Key))
}

// slowest group of a queue: one that is stalled, else the one with the largest lag in seconds.
func (e *Evidence) slowest(queue string) string {
	name, most := "", -1.0
	for _, q := range e.Queues {
		if q.Name != queue {
			continue
		}
		for _, g := range q.Groups {
			lag := g.LagSeconds.Value
			if g.Stalled.Known && g.Stalled.Value > 0 {
				lag += 1e9
			}
			if lag > most {
				name, most = g.Name, lag
			}
		}
	}
	return name
}

// primary of a replication group.
func (e *Evidence) primary(group string) (Server, bool) {
	if e.Result != nil {
		for i := range e.Result.Nodes {
			if n := &e.Result.Nodes[i]; n.Group == group && n.Survey.Role == "primary" {
				return e.server(n.Name)
			}
		}
	}
	return Server{}, false
}

func (e *Evidence) askVersions(app string) string {
	urls := e.Estate.Versions[app]
	if len(urls) == 0 {
		return e.check()
	}
	var quoted []string
	for _, u := range urls[:min(len(urls), manyNames)] {
		quoted = append(quoted, quote(u))
	}
	return "for url in " + strings.Join(quoted, " ") + `; do echo "$url: $(curl -sS -m 5 "$url")"; done`
}

// askSetting asks a node whose value is not most nodes'.
func (e *Evidence) askSetting(subject string) string {
	for _, x := range e.Settings {
		if x.Layer+"/"+x.Name != subject {
			continue
		}
		var odd []string
		for _, nodes := range others(x.Nodes) {
			odd = append(odd, nodes...)
		}
		slices.Sort(odd)
		for _, n := range odd {
			s, ok := e.server(n)
			switch {
			case !ok || s.Kind != "redis":
				return e.ask(n)
			case x.Name == "server_version":
				return s.redis("INFO server")
			}
			return s.redis("INFO memory")
		}
	}
	return e.check()
}

var plain = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// quote for a POSIX shell, where it must be.
func quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
