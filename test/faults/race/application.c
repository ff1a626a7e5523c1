/*
** An application with one connection, on a SQLite whose checkpoints pause: before the lock for checkpoints and after the
** header was read. "stale" counts checkpoints under which the WAL was restarted: the state in which an old SQLite loses
** commits. "strange" are those of them in which no process of the application did that.
**
** Usage: application FILE FIRST-ID COMMITS SEED BEFORE-LOCK-US AFTER-READ-US AUTOCHECKPOINT SHARED-FILE
*/
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SALTS 65536
static volatile uint32_t *restarted; /* of all processes of the application: salt ⇒ the WAL's restart that made it */
static uint64_t state;
static unsigned pauses[2];
static uint32_t seen;
static long checkpoints, whole, stale, strange, restarts;

static uint64_t draw(void){
  state ^= state << 13; state ^= state >> 7; state ^= state << 17;
  return state;
}
static void rest(int which){
  if( pauses[which] && draw()%10<9 ) usleep(draw()%pauses[which]);
}
static uint32_t big(uint32_t word){
  const unsigned char *b = (const unsigned char*)&word;
  return (uint32_t)b[0]<<24 | b[1]<<16 | b[2]<<8 | b[3];
}

static void hook_before_lock(void){ rest(0); }
static void hook_after_read(uint32_t frames, uint32_t backfilled, uint32_t salt, volatile uint32_t *now){
  checkpoints++;
  if( salt!=seen ) restarts++;
  seen = salt;
  if( frames==0 ) return;
  if( frames==backfilled ) whole++;
  rest(1);
  if( *now==salt ) return;
  stale++;
  if( restarted[big(*now)%SALTS]!=big(*now) ) strange++;
}
static void hook_restarted(uint32_t salt){
  restarted[big(salt)%SALTS] = big(salt);
}

#include "sqlite3.c"

static void must(sqlite3 *db, int rc, const char *what){
  if( rc==SQLITE_OK || rc==SQLITE_DONE ) return;
  fprintf(stderr, "%s: %d %s\n", what, rc, sqlite3_errmsg(db));
  exit(1);
}

int main(int n, char **a){
  sqlite3 *db; sqlite3_stmt *insert;
  long i, first = atol(a[2]), commits = atol(a[3]), acknowledged = 0;
  char sql[200];
  int file;
  if( n!=9 ) return 2;
  state = strtoull(a[4], 0, 10)*2654435761u + 88172645463325252ull;
  pauses[0] = atoi(a[5]); pauses[1] = atoi(a[6]);
  file = open(a[8], O_RDWR|O_CREAT, 0600);
  if( file<0 || ftruncate(file, SALTS*4) ) return 2;
  restarted = mmap(0, SALTS*4, PROT_READ|PROT_WRITE, MAP_SHARED, file, 0);
  must(0, sqlite3_open(a[1], &db), "open");
  sqlite3_busy_timeout(db, 30000);
  sprintf(sql, "PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=%d", atoi(a[7]));
  must(db, sqlite3_exec(db, sql, 0, 0, 0), sql);
  must(db, sqlite3_prepare_v2(db, "INSERT INTO t VALUES(?1, zeroblob(?2))", -1, &insert, 0), "prepare");
  for(i=0; i<commits; i++){
    sqlite3_bind_int64(insert, 1, first+i);
    sqlite3_bind_int(insert, 2, 100+(int)(draw()%4000));
    sqlite3_step(insert);
    must(db, sqlite3_reset(insert), "insert");
    acknowledged++;
    if( draw()%4==0 ) usleep(draw()%2000);
  }
  printf("{\"version\":\"%s\",\"acknowledged\":%ld,\"checkpoints\":%ld,\"whole\":%ld,\"stale\":%ld,\"strange\":%ld,\"restarts\":%ld}\n",
         sqlite3_libversion(), acknowledged, checkpoints, whole, stale, strange, restarts);
  sqlite3_finalize(insert);
  sqlite3_close(db);
  return 0;
}
