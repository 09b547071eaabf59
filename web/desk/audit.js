// The tab `audit`.
'use strict';

desk.tab('audit', () => ({}));
