package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cleanstart/cleanstart/monitor/ledger"
	"github.com/cleanstart/cleanstart/monitor/queue"
)

// The orders that people give.
const (
	OrderPause   = "pause"   // an image, or everything: what was begun is finished, nothing else begins
	OrderResume  = "resume"  //
	OrderApprove = "approve" // a job that waits for it
	OrderRetry   = "retry"   // a job that failed
	OrderCancel  = "cancel"  // a job
	OrderAccept  = "accept"  // a state of the feed that is held, by its key
)

// OrderEvent is an order, who gave it and why.
type OrderEvent struct {
	Order  string `json:"order"`
	On     string `json:"on"` // image, job or state of the feed
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

// Order carries out what somebody decided. It is written to the ledger with who
// and why, in the transaction that does it.
func (s *Service) Order(ctx context.Context, o OrderEvent) error {
	if o.By == "" {
		return errors.New("monitor: an order needs somebody who gives it")
	}
	err := s.opts.Store.Update(ctx, func(tx queue.Tx) error {
		if err := s.obey(tx, o); err != nil {
			return err
		}
		_, err := tx.Append(s.opts.Now(), ledger.Event{Kind: KindOrder, Data: o})
		return err
	})
	if err != nil {
		return fmt.Errorf("monitor: %s %s: %w", o.Order, o.On, err)
	}
	return nil
}

func (s *Service) obey(tx queue.Tx, o OrderEvent) error {
	switch o.Order {
	case OrderAccept:
		return s.hurry(tx)
	case OrderPause, OrderResume:
		if o.On == "" {
			return nil
		}
		jobs, err := tx.Group(o.On)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			switch {
			case o.Order == OrderPause && (j.State == queue.Ready || j.State == queue.Blocked):
				j.State = queue.Paused
			case o.Order == OrderResume && j.State == queue.Paused:
				if err := unblock(tx, j); err != nil {
					return err
				}
			default:
				continue
			}
			if err := tx.Put(j); err != nil {
				return err
			}
		}
		return nil
	case OrderApprove, OrderRetry, OrderCancel:
	default:
		return errors.New("there is no such order")
	}
	j, err := tx.Job(o.On)
	if err != nil {
		return err
	}
	var b work
	if err := json.Unmarshal(j.Body, &b); err != nil {
		return err
	}
	switch {
	case o.Order == OrderApprove && j.State == queue.Held:
		b.Approved, b.Reason = o.By, ""
	case o.Order == OrderRetry && (j.State == queue.Failed || j.State == queue.Ready):
		b.Failures, b.Reason = 0, ""
	case o.Order == OrderCancel && !j.State.Finished() && j.Kind != JobTurn:
		j.State = queue.Cancelled
		j.Fence++ // whoever is at it is told so
		b.Reason = "cancelled by " + o.By
		return s.put(tx, j, &b)
	default:
		return fmt.Errorf("the job is %s", j.State)
	}
	j.NotBefore = zeroTime
	if err := unblock(tx, j); err != nil {
		return err
	}
	return s.put(tx, j, &b)
}

// unblock makes a job ready, or blocked where what it waits for is not done.
func unblock(tx queue.Tx, j *queue.Job) error {
	j.State = queue.Ready
	if j.After == "" {
		return nil
	}
	before, err := tx.Job(j.After)
	if err == nil && before.State != queue.Done {
		j.State = queue.Blocked
	}
	return err
}

func (s *state) order(v OrderEvent) {
	switch v.Order {
	case OrderPause:
		s.paused[v.On] = v
	case OrderResume:
		delete(s.paused, v.On)
	case OrderRetry:
		delete(s.incidents, v.On)
	case OrderAccept:
		s.noted["accepted\x00"+v.On] = true
	}
}
