<?php
// phpredis through the Sentinel face: writes as long as it is let.
[, , $host, $port, $name, $key] = $argv;

function master($host, $port, $name)
{
    $sentinel = new RedisSentinel($host, (int) $port, 2.0);
    $at = $sentinel->getMasterAddrByName($name);
    if (!$at) {
        throw new RedisException("nobody knows the master");
    }
    $redis = new Redis();
    $redis->connect($at[0], (int) $at[1], 2.0);
    $redis->setOption(Redis::OPT_READ_TIMEOUT, 5);
    $redis->setOption(Redis::OPT_MAX_RETRIES, 0);
    return $redis;
}

stream_set_blocking(STDIN, false);
$redis = null;
for ($number = 1; fread(STDIN, 1) !== false && !feof(STDIN); $number++) {
    try {
        $redis = $redis ?? master($host, $port, $name);
        // A master that became a slave is no exception here, but a failed command.
        if ($redis->rPush($key, $number) === false) {
            throw new RedisException($redis->getLastError() ?? "refused");
        }
        echo "ack $number\n";
    } catch (RedisException $error) {
        echo "err $number\n";
        $redis = null;
        usleep(10000);
    }
    usleep(2000);
}
