package demo

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// bytesPerWrite is how far each write moves the replication offset.
const bytesPerWrite = 150

// startPair starts a primary and a replica that follows it: what is written to the one arrives at the other, in its order.
func startPair(primaryName, replicaName string) (primary, replica *redisServer, err error) {
	primary, err = startRedis(primaryName)
	if err != nil {
		return nil, nil, err
	}
	replica, err = startRedis(replicaName)
	if err != nil {
		primary.close()
		return nil, nil, err
	}
	replica.replID, replica.primary = primary.replID, primary
	primary.link = &replicationLink{replica: replica, writes: make(chan []string, 1000), closed: make(chan struct{})}
	primary.link.running.Go(primary.link.follow)
	return primary, replica, nil
}

// replicationLink is the stream of writes from a primary to its replica.
type replicationLink struct {
	replica *redisServer
	writes  chan []string
	closed  chan struct{}
	running sync.WaitGroup
}

func (l *replicationLink) follow() {
	for {
		select {
		case w := <-l.writes:
			l.replica.do(w...)
		case <-l.closed:
			return
		}
	}
}

func (l *replicationLink) close() {
	close(l.closed)
	l.running.Wait()
}

// replicated are the commands that the demo, the exporter's probes and its repairs write with.
var replicated = []string{"SET", "DEL", "UNLINK", "EXPIRE", "PEXPIRE"}

// stream hands a write on to the replica.
func (s *redisServer) stream(cmd string, args []string) {
	if s.link == nil {
		return
	}
	select {
	case s.link.writes <- append([]string{cmd}, slices.Clone(args)...):
	case <-s.link.closed:
	}
}

// replicationInfo is what INFO says of replication.
func (s *redisServer) replicationInfo() string {
	var b strings.Builder
	offset := s.written.Load() * bytesPerWrite
	if s.primary != nil {
		fmt.Fprintf(&b, "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:%d\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:0\r\n"+
			"master_sync_in_progress:0\r\nslave_read_repl_offset:%[2]d\r\nslave_repl_offset:%[2]d\r\nslave_priority:100\r\nslave_read_only:1\r\n",
			s.primary.address.Port(), offset)
	} else {
		b.WriteString("role:master\r\n")
	}
	if s.link != nil {
		r := s.link.replica
		fmt.Fprintf(&b, "connected_slaves:1\r\nslave0:ip=127.0.0.1,port=%d,state=online,offset=%d,lag=0\r\n", r.address.Port(), r.written.Load()*bytesPerWrite)
	} else {
		b.WriteString("connected_slaves:0\r\n")
	}
	fmt.Fprintf(&b, "master_failover_state:no-failover\r\nmaster_replid:%s\r\nmaster_replid2:%s\r\nmaster_repl_offset:%d\r\nsecond_repl_offset:-1\r\n",
		s.replID, strings.Repeat("0", 40), offset)
	return b.String()
}
