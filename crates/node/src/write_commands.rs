//! The commands flagged `write`, for nodes that do not tell theirs.
//!
//! `ACL CAT write` is asked once per connection and answers for modules too; this list stands in
//! where the user may not run it. It is that of redis 7.0 (`ACL CAT write`), with the whole of
//! `xgroup` and `function`, which redis 6.2 counts without their subcommands, and with what redis
//! 7.4 to 8.4 and valkey 9 added.

use std::collections::BTreeSet;

#[rustfmt::skip]
const WRITE_COMMANDS: [&str; 123] = [
    "append", "bitfield", "bitop", "blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop",
    "bzpopmax", "bzpopmin", "copy", "decr", "decrby", "del", "delex", "delifeq", "expire", "expireat",
    "flushall", "flushdb", "function", "function|delete", "function|flush", "function|load",
    "function|restore", "geoadd", "georadius", "georadiusbymember", "geosearchstore", "getdel",
    "getex", "getset", "hdel", "hexpire", "hexpireat", "hgetdel", "hgetex", "hincrby", "hincrbyfloat",
    "hmset", "hpersist", "hpexpire", "hpexpireat", "hset", "hsetex", "hsetnx", "incr", "incrby",
    "incrbyfloat", "linsert", "lmove", "lmpop", "lpop", "lpush", "lpushx", "lrem", "lset", "ltrim",
    "migrate", "move", "mset", "msetex", "msetnx", "persist", "pexpire", "pexpireat", "pfadd",
    "pfdebug", "pfmerge", "psetex", "rename", "renamenx", "restore", "restore-asking", "rpop",
    "rpoplpush", "rpush", "rpushx", "sadd", "sdiffstore", "set", "setbit", "setex", "setnx",
    "setrange", "sinterstore", "smove", "sort", "spop", "srem", "sunionstore", "swapdb", "unlink",
    "xack", "xackdel", "xadd", "xautoclaim", "xclaim", "xdel", "xdelex", "xgroup", "xgroup|create",
    "xgroup|createconsumer", "xgroup|delconsumer", "xgroup|destroy", "xgroup|setid", "xreadgroup",
    "xsetid", "xtrim", "zadd", "zdiffstore", "zincrby", "zinterstore", "zmpop", "zpopmax", "zpopmin",
    "zrangestore", "zrem", "zremrangebylex", "zremrangebyrank", "zremrangebyscore", "zunionstore",
];

/// The list as a set of lower-case names.
pub(crate) fn fallback() -> BTreeSet<String> {
    WRITE_COMMANDS.iter().map(|name| (*name).to_owned()).collect()
}
