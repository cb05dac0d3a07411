<?php
// Predis through the Sentinel face: writes as long as it is let.
// This version of Predis is older than this version of PHP, which says so at every turn.
error_reporting(E_ALL & ~E_DEPRECATED);
require "Predis/Autoloader.php";
Predis\Autoloader::register();

[, , $host, $port, $name, $key] = $argv;

function client($host, $port, $name)
{
    $client = new Predis\Client(["tcp://$host:$port?timeout=2"], [
        "replication" => "sentinel",
        "service" => $name,
        "parameters" => ["timeout" => 2, "read_write_timeout" => 5],
    ]);
    // By itself it would send a write again whose connection broke, and wait a second before.
    $client->getConnection()->setRetryLimit(0);
    $client->getConnection()->setRetryWait(0);
    return $client;
}

stream_set_blocking(STDIN, false);
$client = null;
for ($number = 1; fread(STDIN, 1) !== false && !feof(STDIN); $number++) {
    try {
        $client = $client ?? client($host, $port, $name);
        $client->rpush($key, [$number]);
        echo "ack $number\n";
    } catch (Predis\PredisException $error) {
        echo "err $number\n";
        // It stays at a master that became a slave: leave it, and ask again who is master.
        $client->disconnect();
        $client = null;
        usleep(10000);
    }
    usleep(2000);
}
