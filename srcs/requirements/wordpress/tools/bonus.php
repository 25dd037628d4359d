<?php
/**
 * What the site does differently while the bonus services run.
 */
declare(strict_types=1);

namespace Site;

const OBJECT_CACHE = __DIR__ . '/object-cache.php';

/**
 * Empties Redis: the site may have been changed without it since it last was its cache.
 *
 * One that does not answer is about to start, and starts empty.
 */
function flush_object_cache(): void
{
    $redis = new \Redis();
    try {
        $redis->connect('redis', 6379, 2.0);
        $redis->auth(trim((string) file_get_contents('/run/secrets/redis_password')));
        $redis->flushAll();
    } catch (\RedisException $error) {
        say("object cache: {$error->getMessage()}");
    }
}

/** Puts the object cache's drop-in into the site, or takes it out. Another plugin's is left alone. */
function set_object_cache(string $site, bool $wanted): void
{
    $drop_in = "$site/wp-content/object-cache.php";
    $ours = is_link($drop_in) && readlink($drop_in) === OBJECT_CACHE;
    if ($wanted && !$ours && !file_exists($drop_in)) {
        flush_object_cache();
        symlink(OBJECT_CACHE, $drop_in);
    } elseif (!$wanted && $ours) {
        unlink($drop_in);
    }
}
