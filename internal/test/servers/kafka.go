package servers

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// KafkaServer is an Apache Kafka: one process that is broker and controller.
type KafkaServer struct {
	*Process
	dir, properties string
}

// Kafka's programs; each is a class.
const (
	KafkaTopics = "org.apache.kafka.tools.TopicCommand"
	KafkaGroups = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"

	kafkaFeatures      = "org.apache.kafka.tools.FeatureCommand"
	kafkaConfigs       = "kafka.admin.ConfigCommand"
	kafkaShareConsumer = "org.apache.kafka.tools.consumer.ConsoleShareConsumer"
)

// Kafka starts a broker; properties (name=value) come after its own.
func Kafka(t testing.TB, properties ...string) *KafkaServer {
	t.Helper()
	k := &KafkaServer{dir: t.TempDir()}
	addr, controller := FreeAddr(t), FreeAddr(t)
	lines := append([]string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + addr + ",CONTROLLER://" + controller, "advertised.listeners=PLAINTEXT://" + addr,
		"controller.listener.names=CONTROLLER", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + filepath.Join(k.dir, "data"), "offsets.topic.replication.factor=1", "offsets.topic.num.partitions=1",
		"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "group.initial.rebalance.delay.ms=0",
	}, properties...)
	k.properties = filepath.Join(k.dir, "server.properties")
	if err := os.WriteFile(k.properties, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	format(t, k.properties, filepath.Join(k.dir, "data"))
	k.start(t, addr)
	return k
}

// formatted are the files of a folder for a broker's data, which are the same for every broker.
var formatted struct {
	sync.Mutex
	files map[string][]byte
}

// format makes the folder of a broker's data. Only the first is made by Kafka's program, which takes seconds of a core.
func format(t testing.TB, properties, data string) {
	t.Helper()
	formatted.Lock()
	defer formatted.Unlock()
	if formatted.files == nil {
		run(t, "kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", properties)
		files, err := filepath.Glob(filepath.Join(data, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("Kafka formatted nothing in %s: %v", data, err)
		}
		found := map[string][]byte{}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found[filepath.Base(file)] = text
		}
		formatted.files = found
		return
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range formatted.files {
		if err := os.WriteFile(filepath.Join(data, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// KafkaLogins are properties with which a broker asks who one is (PLAIN) and what one may see. The user admin, whose password is
// admin too, may see all; exporter has this password, and sees what an ACL grants.
func KafkaLogins(password string) []string {
	return []string{
		"listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT", "inter.broker.listener.name=PLAINTEXT",
		"sasl.mechanism.inter.broker.protocol=PLAIN", "sasl.enabled.mechanisms=PLAIN",
		"listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required " +
			`username="admin" password="admin" user_admin="admin" user_exporter="` + password + `";`,
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:admin;User:ANONYMOUS",
	}
}

// KafkaShares are properties that a single broker needs for share groups.
func KafkaShares() []string {
	return []string{
		"share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1", "share.coordinator.state.topic.num.partitions=1",
	}
}

// Share has a share group take the first message of a topic; Kafka 4.1 has them as a preview, which it is told to let on. It needs
// KafkaShares.
func (k *KafkaServer) Share(t testing.TB, group, topic string) {
	t.Helper()
	k.Tool(t, kafkaFeatures, "upgrade", "--feature", "share.version=1")
	k.Tool(t, kafkaConfigs, "--alter", "--entity-type", "groups", "--entity-name", group, "--add-config", "share.auto.offset.reset=earliest")
	k.Tool(t, kafkaShareConsumer, "--group", group, "--topic", topic, "--max-messages", "1", "--timeout-ms", "60000")
}

func (k *KafkaServer) start(t testing.TB, addr string) {
	t.Helper()
	accepts := func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	k.Process = start(t, addr, accepts, "java", java(t, "kafka.Kafka", k.properties)...)
}

// Restart ends the broker, if it runs, and starts it again with its data.
func (k *KafkaServer) Restart(t testing.TB) {
	t.Helper()
	k.Stop()
	k.start(t, k.Addr)
}

// KafkaScript is a shell script that runs one of Kafka's programs, a class, with its arguments, as kafka-topics.sh and its like do.
func KafkaScript(t testing.TB, class string) string {
	t.Helper()
	return "#!/bin/sh\nexec java '" + strings.Join(java(t, class), "' '") + "' \"$@\"\n"
}

// Tool runs one of Kafka's programs against the broker and gives what it prints.
func (k *KafkaServer) Tool(t testing.TB, class string, args ...string) string {
	t.Helper()
	return run(t, class, append([]string{"--bootstrap-server", k.Addr}, args...)...)
}

func run(t testing.TB, class string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "java", java(t, class, args...)...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatal(fmt.Errorf("%s: %w\n%s%s", class, err, out.String(), problems.String()))
	}
	return out.String()
}

// java's arguments for a class of Kafka's.
func java(t testing.TB, class string, args ...string) []string {
	t.Helper()
	lib := filepath.Join(root(t), ".deps", "kafka")
	if jars, err := filepath.Glob(filepath.Join(lib, "kafka_*.jar")); err != nil || len(jars) == 0 {
		t.Fatalf("Apache Kafka is not in .deps/kafka, and the tests need it: run make deps")
	}
	return append([]string{
		"-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(lib, "*"), class,
	}, args...)
}

// root is the folder of go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = parent
	}
}
