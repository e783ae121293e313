package hostile

import (
	"os"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// The exporter takes the credentials for attacks that play DynamoDB, and whom to ask for names, from its environment.
func TestMain(m *testing.M) {
	environment := servers.DynamoDBEnvironment()
	var err error
	if environment[nameServerVariable], err = startNameServer(); err != nil {
		panic(err)
	}
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// Each attack alone beside honest nodes: the exporter stays up and small, and tells all of them at each scrape.
func TestAttacks(t *testing.T) {
	binary := build(t)
	none := Attack{Name: "none", Start: func(testing.TB) Config { return Config{} }}
	for _, a := range append(Attacks(), none) {
		t.Run(a.Name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			v := Start(t, binary, 2, []Attack{a})
			v.timeout = pick(10*time.Second, 3*time.Second)
			for range pick(4, 2) {
				v.Scrape(t)
			}
			v.Small(t)
		})
	}
}
