/*
 * A gateway in its world, written a second time by hand for Spin: tests/model/gateway-world.ts explores the
 * shipped reducers, this file says what they should do. Both must reach the same number of states by the same
 * number of transitions, and both must find the seeded bugs (-DBUG=1 to 8).
 *
 *   spin -run -DNOREDUCE -m100000 gateway.pml
 */
#ifndef BUG
#define BUG 0
#endif

/* mode */
#define OFF 0
#define UPLOAD 1
#define SERVING 2
#define KILLED 3
/* power, as the process knows it */
#define UNKNOWN 0
#define DOWN 1
#define COMING 2
#define ON 3
/* why a power cycle ends */
#define FAULT 1
#define FLICKER 2
#define HALT 3
#define STOP 4
/* what an order makes the life do */
#define ACT_HALT 1
#define ACT_RELEASE 2

/* orders: 1 and 2 are halts, 3 and 4 the releases of 1 and 2 */
bool sent[5];
bool obeyed[5];
/* disk: the halts that stand */
bool halt[3];
bool released[3];
/* process */
bool up, halted, stopping, ready, draining;
byte mode, power, ending;
/* an order between its two halves */
bool half;
byte act, which;
/* the server */
bool powered, weights;

#define someHalt (halt[1] || halt[2])
#define inCycle (mode == UPLOAD || mode == SERVING)
#define accepts (up && mode == SERVING && ready && (ending == 0 || BUG == 4) && !draining)

inline ended(why) {
  if
  :: inCycle && ending == 0 -> ending = why
  :: else
  fi
}

inline lifeIsOver() {
  up = 0; halted = 0; stopping = 0; ready = 0; draining = 0; mode = 0; power = 0; ending = 0;
  half = 0; act = 0; which = 0
}

inline check() {
  assert(!accepts || (mode == SERVING && powered && weights));
  assert(!accepts || !someHalt || half);
  assert(!(up && power == DOWN) || (!powered && !weights));
  assert(!(up && mode == OFF) || power == UNKNOWN || power == COMING || !powered);
  assert(!(up && mode == UPLOAD) || !weights);
  assert(!accepts || half || !obeyed[1] || sent[3]);
  assert(!accepts || half || !obeyed[2] || sent[4]);
  assert(!obeyed[1] || half || halt[1] || released[1]);
  assert(!obeyed[2] || half || halt[2] || released[2]);
  assert(!halt[1] || !released[1]);
  assert(!halt[2] || !released[2])
}

active proctype world() {
end:
  do
  /* the parties */
  :: d_step { !sent[1] -> sent[1] = 1; check() }
  :: d_step { !sent[2] -> sent[2] = 1; check() }
  :: d_step { sent[1] && !sent[3] -> sent[3] = 1; check() }
  :: d_step { sent[2] && !sent[4] -> sent[4] = 1; check() }
  /* the process */
  :: d_step { !up -> up = 1; mode = OFF; power = (BUG == 3 -> DOWN : UNKNOWN);
              halted = (someHalt && BUG != 6); check() }
  :: d_step { up -> lifeIsOver(); check() }
  /* an order arrives: decided, and durable */
  :: d_step { up && !half && sent[1] ->
       if
       :: (!released[1] || BUG == 5) && !halt[1] && !(BUG == 7 && halt[2]) ->
            halt[1] = 1; half = 1; act = ACT_HALT; which = 1
       :: else -> obeyed[1] = 1
       fi; check() }
  :: d_step { up && !half && sent[2] ->
       if
       :: (!released[2] || BUG == 5) && !halt[2] && !(BUG == 7 && halt[1]) ->
            halt[2] = 1; half = 1; act = ACT_HALT; which = 2
       :: else -> obeyed[2] = 1
       fi; check() }
  :: d_step { up && !half && sent[3] ->
       if
       :: halt[1] -> halt[1] = 0; released[1] = 1; half = 1; which = 3;
            act = (halt[2] && BUG != 8 -> 0 : ACT_RELEASE)
       :: else
       fi; check() }
  :: d_step { up && !half && sent[4] ->
       if
       :: halt[2] -> halt[2] = 0; released[2] = 1; half = 1; which = 4;
            act = (halt[1] && BUG != 8 -> 0 : ACT_RELEASE)
       :: else
       fi; check() }
  /* acted on and answered */
  :: d_step { up && half ->
       if
       :: act == ACT_HALT -> halted = 1; ended(HALT)
       :: act == ACT_RELEASE -> halted = 0
       :: else
       fi;
       obeyed[which] = 1; half = 0; act = 0; which = 0; check() }
  /* the life */
  :: d_step { up && mode == OFF && power == DOWN && (!halted || BUG == 1) && !stopping ->
       assert(!someHalt || half);
       assert(half || ((!obeyed[1] || released[1]) && (!obeyed[2] || released[2])));
       power = COMING; check() }
  :: d_step { up && power == COMING -> power = (BUG == 2 -> DOWN : UNKNOWN); check() }
  :: d_step { up && power == COMING -> power = (BUG == 2 -> DOWN : UNKNOWN); powered = 1; check() }
  :: d_step { up && (power == UNKNOWN || mode == KILLED) ->
       power = DOWN; powered = 0; weights = 0; check() }
  :: d_step { up && power == COMING && mode == OFF ->
       mode = UPLOAD; power = ON; powered = 1;
       ending = (stopping -> STOP : (halted -> HALT : 0)); check() }
  :: d_step { up && mode == UPLOAD && ending == 0 -> mode = SERVING; weights = 1; check() }
  :: d_step { up && mode == SERVING && ending == 0 -> ready = 1; check() }
  :: d_step { accepts -> draining = 1; check() }
  :: d_step { up -> ended(FLICKER); check() }
  :: d_step { up -> ended(FAULT); check() }
  :: d_step { up && ending != 0 && inCycle ->
       mode = KILLED; ending = 0; ready = 0; draining = 0; check() }
  :: d_step { up && mode == OFF && power == DOWN && halted -> mode = KILLED; check() }
  :: d_step { up && mode == KILLED && power == DOWN && (!halted || stopping) -> mode = OFF; check() }
  :: d_step { up -> stopping = 1; ended(STOP); check() }
  od
}
