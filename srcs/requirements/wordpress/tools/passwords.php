<?php
/**
 * Gives the administrator and the author the passwords of the secrets, by order of the operator.
 */
declare(strict_types=1);

namespace Site;

require __DIR__ . '/accounts.php';

$_SERVER += ['HTTP_HOST' => getenv('DOMAIN'), 'REQUEST_URI' => '/', 'SERVER_PROTOCOL' => 'HTTP/1.1'];
require '/var/www/html/wp-load.php';

foreach (ACCOUNTS as $variable => $secret) {
    $login = getenv($variable);
    $user = get_user_by('login', $login);
    if ($user === false) {
        fwrite(STDERR, "$login: there is no such user\n");
        continue;
    }
    // WordPress takes what is typed into its form with slashes added, and never removes them.
    $password = wp_slash(site_secret($secret));
    if (wp_check_password($password, $user->user_pass, $user->ID)) {
        echo "$login: the password is right\n";
    } else {
        wp_set_password($password, $user->ID);
        echo "$login: the password is set\n";
    }
}
