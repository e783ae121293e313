package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// surveyedNode is one whose survey is a function.
type surveyedNode struct {
	probes.Node
	survey func(context.Context) error
}

func (surveyedNode) Identity() probes.Identity { return probes.Identity{} }

func (n surveyedNode) Survey(ctx context.Context, _ *probes.Scan) (probes.Survey, error) {
	return probes.Survey{}, n.survey(ctx)
}

// surveyed has a group of three times as many members as are asked at once, which survey answers for.
func surveyed(survey func(context.Context) error) (ask func(time.Duration) (visited int), members int) {
	members = 3 * strangersAtOnce
	g := NewMembers[*dnsMember](probes.Identity{Layer: "l2", Name: "g"}, 0, &probes.Env{})
	for i := range members {
		g.Add(&dnsMember{Member: Member{Node: surveyedNode{survey: survey}, Address: fmt.Sprintf("h%d:1", i)}})
	}
	return func(within time.Duration) (visited int) {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		var mu sync.Mutex
		none := func(probes.Identity) *probes.Scan { return nil }
		g.SurveyAs(ctx, dnsTopology{g}, none, func(probes.Node, probes.Survey, error) {
			mu.Lock()
			defer mu.Unlock()
			visited++
		})
		return visited
	}, members
}

// Of members that did not answer last time few are asked at once, and of those that did all.
func TestStrangersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		var answer error
		ask, members := surveyed(func(context.Context) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(longestTurn / 2)
			mu.Lock()
			defer mu.Unlock()
			now--
			return answer
		})
		for _, c := range []struct {
			answer error
			most   int
		}{{errors.New("refused"), strangersAtOnce}, {nil, strangersAtOnce}, {errors.New("refused"), members}, {nil, strangersAtOnce}} {
			most, answer = 0, c.answer
			if visited := ask(time.Minute); visited != members || most != c.most {
				t.Errorf("answering %v: %d of %d visited, %d at once, want %d", c.answer, visited, members, most, c.most)
			}
		}
	})
}

// Members that hang hold up the others for their turn alone, and nobody when the time is up.
func TestStrangersThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var last time.Duration
		ask, members := surveyed(func(ctx context.Context) error {
			mu.Lock()
			last = max(last, time.Since(began))
			mu.Unlock()
			<-ctx.Done()
			return ctx.Err()
		})
		if visited := ask(time.Minute); visited != members || last != 2*longestTurn {
			t.Errorf("%d of %d visited, the last was asked after %v", visited, members, last)
		}
		began, last = time.Now(), 0
		if visited := ask(longestTurn / 2); visited != members || last != longestTurn/2 {
			t.Errorf("%d of %d visited, the last was asked after %v", visited, members, last)
		}
	})
}
