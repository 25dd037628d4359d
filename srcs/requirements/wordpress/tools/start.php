<?php
/**
 * PID 1 of the container: prepares the site on the first start, then becomes php-fpm.
 */
declare(strict_types=1);

namespace Site;

require __DIR__ . '/accounts.php';
require __DIR__ . '/files.php';
require __DIR__ . '/bonus.php';
require __DIR__ . '/database.php';
require __DIR__ . '/install.php';

const SOURCE = '/usr/src/wordpress';
const SITE = '/var/www/html';

// The kernel gives PID 1 no default actions for signals.
pcntl_async_signals(true);
foreach ([SIGTERM, SIGINT] as $signal) {
    pcntl_signal($signal, static fn () => exit(128 + $signal));
}

function say(string $message): void
{
    fwrite(STDERR, "$message\n");
}

$bonus = getenv('BONUS') === 'on';
try {
    deploy_files(SOURCE, SITE);
    set_object_cache(SITE, false);
    $database = wait_for_database(600);
    if (is_installed($database)) {
        compare_passwords(SITE, $database);
    } else {
        install(SITE, $database);
    }
    $database->close();
    set_object_cache(SITE, $bonus);
} catch (WrongPassword $error) {
    // Starting anew would not help. The health check stays red until the password is right.
    say($error->getMessage());
} catch (\Throwable $error) {
    say($error->getMessage());
    exit(1);
}

// A signal from here on waits until php-fpm has its own handlers.
pcntl_sigprocmask(SIG_BLOCK, [SIGTERM, SIGINT]);
pcntl_exec('/usr/sbin/php-fpm8.2', ['--fpm-config', '/etc/php/php-fpm.conf']);
say('php-fpm8.2 cannot be started');
exit(1);
