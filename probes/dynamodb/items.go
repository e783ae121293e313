package dynamodb

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// leastCost of a page in read units, even of one without items. It bounds how many pages are asked for in a sampling.
const leastCost = 0.5

// cost of a page in read units. Where the server does not say, each item is taken to cost as much as the smallest page.
func cost(out *dynamodb.QueryOutput) float64 {
	if c := out.ConsumedCapacity; c != nil && c.CapacityUnits != nil && *c.CapacityUnits > 0 {
		return max(*c.CapacityUnits, leastCost)
	}
	return max(itemCount(out), 1) * leastCost
}

// itemCount is how many items a page read, as the server counts them where it does.
func itemCount(out *dynamodb.QueryOutput) float64 {
	return float64(max(len(out.Items), int(out.ScannedCount)))
}

// sortedNames are the names of a key's attributes.
func sortedNames(key map[string]types.AttributeValue) []string {
	return slices.Sorted(maps.Keys(key))
}

// itemID is a hash of an item's keys.
type itemID [16]byte

// identify an item by its keys; false: it lacks one, or keys is empty.
func identify(item map[string]types.AttributeValue, keys []string) (itemID, bool) {
	h := sha256.New()
	part := func(s string) {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	for _, name := range keys {
		part(name)
		switch v := item[name].(type) {
		case *types.AttributeValueMemberS:
			part("S" + v.Value)
		case *types.AttributeValueMemberN:
			part("N" + v.Value)
		case *types.AttributeValueMemberB:
			part("B" + string(v.Value))
		default:
			return itemID{}, false
		}
	}
	return itemID(h.Sum(nil)[:16]), len(keys) > 0
}

// attributeText of an attribute, as the configuration would write it; empty: it has none.
func attributeText(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberBOOL:
		return strconv.FormatBool(v.Value)
	}
	return ""
}

// readTime reads an item's stamp; false: it is no time of that format.
func readTime(v types.AttributeValue, format string) (time.Time, bool) {
	s := attributeText(v)
	if format == rfc3339 {
		at, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
		return at, err == nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if format == epochMS {
		f /= 1000
	}
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e11 {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(math.Round(f * 1e6))), true
}
