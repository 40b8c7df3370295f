//! The shipped ACL of Redis: what replicas need, and nothing else.

use std::fs;

use redis::{RedisError, Value};

use crate::support::{deployed::make_keys, gateway::PATIENCE, redis::Redis};

#[test]
fn redis_lets_the_gateways_do_what_they_need_with_their_own_keys_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    make_keys(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let redis = Redis::start_with(&["--aclfile", &path("users.acl")]);
    let password = fs::read_to_string(path("redis-password")).unwrap();
    let connect = |user: &str| {
        redis::Client::open(redis.url_as(user)).unwrap().get_connection_with_timeout(PATIENCE)
    };
    assert!(
        connect("").and_then(|mut open| ask(&mut open, "PING")).is_err(),
        "nobody in particular"
    );
    assert!(connect("genesys-proxy:wrong@").is_err());
    let mut open = connect(&format!("genesys-proxy:{}@", password.trim())).unwrap();
    for allowed in [
        "PING",
        "TIME",
        "CLIENT SETNAME it",
        "SET gp1:{s}:a 1 PX 60000 NX",
        "GET gp1:{s}:a",
        "PTTL gp1:{s}:a",
        "PEXPIRE gp1:{s}:a 60000",
        "DEL gp1:{s}:a",
        "INCRBY gp1:{s}:n 2",
        "HSET gp1:{s}:h f v",
        "HINCRBY gp1:{s}:h n 1",
        "HGET gp1:{s}:h f",
        "HGETALL gp1:{s}:h",
        "HDEL gp1:{s}:h f",
        "ZADD gp1:{s}:z 1 a",
        "ZRANGEBYSCORE gp1:{s}:z 0 1",
        "ZREMRANGEBYSCORE gp1:{s}:z 0 1",
        "SCRIPT LOAD return",
        "EVALSHA 63143b6f8007b98c53ca2149822777b3566f9241 1 gp1:{s}:a",
        "EVAL redis.call('TIME')return(redis.call('SET',KEYS[1],'1','PX',9)) 1 gp1:{s}:a",
        "EVAL return(redis.call('PUBLISH','gp1:{s}:c','x')) 1 gp1:{s}:a",
        "PUBLISH gp1:{s}:c hello",
    ] {
        let answer = ask(&mut open, allowed);
        assert!(answer.is_ok(), "{allowed}: {answer:?}");
    }
    for refused in [
        "GET other",
        "SET other 1",
        "PUBLISH other hello",
        "SUBSCRIBE other",
        "PSUBSCRIBE *",
        "PUBSUB CHANNELS",
        "EVAL return(redis.call('GET','other')) 0",
        "EVAL return(redis.call('FLUSHALL')) 0",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "DBSIZE",
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG GET *",
        "ACL LIST",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "INFO",
        "MONITOR",
        "SAVE",
        "SHUTDOWN",
        "REPLICAOF NO ONE",
        "MIGRATE h 1 gp1:{s}:a 0 1",
        "SCRIPT FLUSH",
        "CLUSTER SLOTS",
        "FUNCTION LIST",
    ] {
        let answer = ask(&mut open, refused);
        let told = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let why = ["NOPERM", "ermission", "an't access", "an't run"];
        assert!(why.iter().any(|why| told.contains(why)), "{refused}: {answer:?}");
    }
    assert_eq!(
        ask(&mut open, "SUBSCRIBE gp1:{s}:c").map(|_| ()).map_err(|e| e.to_string()),
        Ok(())
    );
}

fn ask(open: &mut redis::Connection, line: &str) -> Result<Value, RedisError> {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>()).query(open)
}
