package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// surveyCluster asks for the server's view of its Cluster too, in the same round trip. refused says why there is none.
func (n *node) surveyCluster(ctx context.Context, scan *probes.Scan) (s probes.Survey, view *clusterView, refused, err error) {
	ask := wire.Request{
		Commands: appendCommand(appendCommand(appendCommand(nil, "CLUSTER", "INFO"), "CLUSTER", "NODES"), "CLUSTER", "SHARDS"),
		Read: func(x *wire.Exchange) error {
			v, why, err := n.readView(x)
			x.Deliver(func() { view, refused = v, why })
			return err
		},
	}
	s, err = n.surveyWith(ctx, ask, scan)
	if err != nil {
		return s, nil, nil, err
	}
	return s, view, refused, nil
}

// readView reads the answers to CLUSTER INFO, NODES and SHARDS; the last is missing before Redis 7, and NODES tells enough
// without the others.
func (n *node) readView(x *wire.Exchange) (view *clusterView, refused, err error) {
	var noInfo, said, old errReply
	info, err := readText(x)
	if err != nil && !errors.As(err, &noInfo) {
		return nil, nil, err
	}
	nodes, err := readText(x)
	if err != nil && !errors.As(err, &said) {
		return nil, nil, err
	}
	shards, err := readShards(x, n.config.TLS != nil)
	if err != nil && !errors.As(err, &old) {
		return nil, nil, err
	}
	switch {
	case said.word() == "NOPERM":
		return nil, errors.New("CLUSTER was refused (NOPERM); grant the node's user +cluster|info +cluster|nodes +cluster|shards +readonly +asking"), nil
	case said != "":
		return nil, fmt.Errorf("CLUSTER was refused: %w; is the server a node of a Redis Cluster?", said), nil
	}
	if view, refused = n.views.view(nodes, shards); refused != nil {
		return nil, refused, nil
	}
	view.ok, view.mute, view.epoch = parseClusterInfo(info)
	view.address = cmp.Or(view.nodes[view.myself].address, n.url.Addr) // it does not know its own host, and is where it was asked
	return view, nil, nil
}

func parseClusterInfo(text string) (ok, mute bool, epoch int64) {
	mute = true
	for line := range strings.Lines(text) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name {
		case "cluster_state":
			ok, mute = value == "ok", false
		case "cluster_current_epoch":
			epoch, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	return ok, mute, epoch
}
