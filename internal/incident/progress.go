package incident

import (
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"golang.org/x/term"
)

// ProgressBar draws a bar on file if it is a terminal, with a message beside it. show is what CheckOptions.Progress wants, nil
// elsewhere; stop ends the bar.
func ProgressBar(file *os.File, message string) (show func(step, steps int), stop func()) {
	if !term.IsTerminal(int(file.Fd())) {
		return nil, func() {}
	}
	bar := progress.NewWriter()
	bar.SetOutputWriter(file)
	bar.SetUpdateFrequency(100 * time.Millisecond)
	bar.SetStyle(progress.StyleBlocks)
	tracker := &progress.Tracker{Message: message}
	bar.AppendTracker(tracker)
	done := make(chan struct{})
	go func() {
		defer close(done)
		bar.Render()
	}()
	show = func(step, steps int) {
		tracker.UpdateTotal(int64(steps))
		tracker.SetValue(int64(step))
	}
	stop = func() {
		tracker.MarkAsDone()
		bar.Stop()
		<-done
	}
	return show, stop
}
